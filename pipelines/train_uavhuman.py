"""Train DTCM on UAVHuman-Fisheye: `python pipelines/train_uavhuman.py --experiment.data.root /data/fisheye`."""

import sys
from collections.abc import Sequence

from pipelines import train_arid
from pipelines.command_line import run


def main(argv: Sequence[str] | None = None) -> None:
    """As train_arid.py, from the recipe uavhuman-fisheye unless another is named."""
    train_arid.main(["--recipe", "uavhuman-fisheye", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    run(main)
