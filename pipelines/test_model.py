"""Test the models of runs on a data set: its own test part, or any other videos of the same classes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import tyro

from components.settings import Settings
from components.tester import average_splits
from components.workflow import describe_test, test_model
from dtcm.data.views import Views
from dtcm.errors import BadInput
from pipelines.command_line import run


@dataclass(frozen=True)
class TestArguments:
    """Test the models of runs on a data set."""

    models: tyro.conf.Positional[tuple[str, ...]]
    """Run folders (paths or s3:// URIs) whose best models are tested; of several, one for each split of a data set,
    the mean is printed too (as ARID's three splits in Table III)."""
    root: str = ""
    """Folder of the videos. Empty: those that the run was trained for."""
    whole: bool = False
    """Test on every video of the root, not only on its test part."""
    out: str = ""
    """Parquet file for the predictions of a single run. Empty: they are not kept."""
    views: Views = field(default_factory=Views)
    settings: Settings = field(default_factory=Settings)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, test, and print the figures."""
    args = tyro.cli(TestArguments, args=argv)
    if args.out and len(args.models) > 1:
        raise BadInput("--out is one file; test the runs one after the other to keep their predictions.")
    tests = [test_model(model, args.root, args.whole, args.out, args.settings, args.views) for model in args.models]
    for model, test in zip(args.models, tests, strict=True):
        print(f"{model}\n{describe_test(test)}" if len(tests) > 1 else describe_test(test))
    if len(tests) > 1:
        mean = average_splits(tests)
        top1, top5 = (f"{mean[name]:.2%} ±{100 * mean[f'{name}_spread']:.2f}" for name in ("top1", "top5"))
        print(f"Mean of {len(tests)}, and half of its 95 % interval over them: Top-1 {top1}, Top-5 {top5}")


if __name__ == "__main__":
    run(main)
