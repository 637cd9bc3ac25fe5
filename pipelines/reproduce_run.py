"""Do a run again from what it recorded, and say whether it comes out the same: `reproduce_run.py RUN-FOLDER-OR-URI`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from components.reproduce import compare, differences, run_again, verify_inputs
from components.settings import Settings
from components.storage import folder_at
from dtcm.errors import BadInput
from pipelines.command_line import run


@dataclass(frozen=True)
class ReproduceArguments:
    """Check a run's inputs by their hashes, run its commit again, and compare curve and predictions."""

    run: tyro.conf.Positional[str]
    """Folder (path or s3:// URI) of a finished run."""
    storage: str = "runs/reproduced"
    """Folder or s3:// URI for the new run."""
    workers: int = 0
    """Training processes; as many as the run had give the same order of sums. 0: so many."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, verify, run, compare; the status is 1 where the runs part."""
    args = tyro.cli(ReproduceArguments, args=argv)
    recorded = folder_at(args.run)
    if not recorded.has("result.json"):
        raise BadInput(f"There is no finished run in {args.run}.")
    for sentence in differences(recorded):
        print(f"Warning: {sentence}")
    print(f"Inputs: {verify_inputs(recorded)} files, all with the hashes that the run recorded", flush=True)
    again = run_again(recorded, Settings(storage=args.storage).storage_uri, args.workers)
    found = compare(recorded, again)
    print(f"Again: {again.uri}")
    if found.equal:
        print(f"Equal: {found.steps} steps and all predictions, to the last bit")
        return
    print(
        f"They part: losses at {f'step {found.parts_at}' if found.parts_at else 'no step'} of {found.steps} (largest "
        f"difference of the total {found.largest:.2g} of it), logits by up to {found.logits:.2g}, "
        f"{found.other_predictions} clips predicted otherwise"
    )
    sys.exit(1)


if __name__ == "__main__":
    run(main)
