"""Test the model of a run on a data set: its own test part, or any other videos of the same classes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import tyro

from components.settings import Settings
from components.workflow import describe_test, test_model
from pipelines.command_line import run


@dataclass(frozen=True)
class TestArguments:
    """Test the model of a run on a data set."""

    model: tyro.conf.Positional[str]
    """Run folder (path or s3:// URI) whose best model is tested."""
    root: str = ""
    """Folder of the videos. Empty: those that the run was trained for."""
    whole: bool = False
    """Test on every video of the root, not only on its test part."""
    out: str = ""
    """Parquet file for the predictions. Empty: they are not kept."""
    settings: Settings = field(default_factory=Settings)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, test, and print the figures."""
    args = tyro.cli(TestArguments, args=argv)
    print(describe_test(test_model(args.model, args.root, args.whole, args.out, args.settings)))


if __name__ == "__main__":
    run(main)
