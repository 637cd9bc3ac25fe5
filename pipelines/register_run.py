"""Fill MLflow from a finished run that it could not be told about, and register its model: `register_run.py RUN`."""

from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from components.register import register_run
from pipelines.command_line import run


@dataclass(frozen=True)
class RegisterArguments:
    """Fill MLflow from a finished run and register its model; what is there already stays as it is."""

    run: tyro.conf.Positional[str]
    """Folder (path or s3:// URI) of a finished run."""
    tracking_uri: str = ""
    """MLflow server or database. Empty: SQLite in the run's storage folder (in ./runs where that is S3)."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, register, say what."""
    args = tyro.cli(RegisterArguments, args=argv)
    print(f"Registered: {register_run(args.run, args.tracking_uri)}")


if __name__ == "__main__":
    run(main)
