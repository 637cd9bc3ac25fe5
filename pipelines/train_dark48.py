"""Train DTCM on Dark-48, or on a set that build_dark48.py made: `--experiment.data.root /data/Dark48`."""

import sys
from collections.abc import Sequence

from pipelines import train_arid
from pipelines.command_line import run


def main(argv: Sequence[str] | None = None) -> None:
    """As train_arid.py, from the recipe dark48 unless another is named."""
    train_arid.main(["--recipe", "dark48", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    run(main)
