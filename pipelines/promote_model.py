"""Make a registered model champion if it is better than the present one, and say why or why not.

`python pipelines/promote_model.py dtcm-arid-v1-split1`, and `--rollback` to go back to the champion before.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import tyro

from components.promotion import promote, roll_back
from components.settings import Settings
from components.versions import CHALLENGER
from dtcm.gate import Limits
from pipelines.command_line import run


@dataclass(frozen=True)
class PromoteArguments:
    """Make a registered model champion if it is better than the present one."""

    model: tyro.conf.Positional[str]
    """Registered model, such as dtcm-arid-v1-split1."""
    version: str = CHALLENGER
    """Number or alias of the version that is to become champion."""
    rollback: bool = False
    """Make the champion before the present one champion again, without comparing."""
    dry_run: bool = False
    """Compare and say what would be done, and change nothing."""
    limits: Limits = field(default_factory=Limits)
    settings: Settings = field(default_factory=Settings)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, compare, decide; the status is 1 where the challenger is refused."""
    args = tyro.cli(PromoteArguments, args=argv)
    would = "would be" if args.dry_run else "is"
    if args.rollback:
        present, before = roll_back(args.model, args.settings, args.dry_run)
        print(f"Version {before} of {args.model} {would} champion again, in place of {present}.")
        return
    verdict = promote(args.model, args.version, args.limits, args.settings, args.dry_run)
    print(f"Version {verdict.challenger} of {args.model} against {verdict.champion or 'no champion yet'}")
    for check in verdict.checks:
        print(f"  {'passed' if check.passed else 'FAILED'}  {check.name}: {check.says}")
    print(f"Version {verdict.challenger} {would} {'champion' if verdict.passed else 'refused'}.")
    if not verdict.passed:
        sys.exit(1)


if __name__ == "__main__":
    run(main)
