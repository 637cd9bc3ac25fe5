"""Sweep α, W_STC, k or any other field of the experiment, and report it like the paper's tables.

With no arguments: Tables VII to IX on the built-in sample set. The same command goes on with a sweep that was cut off.
Further: `--sweep joint`, or a file such as infra/sweeps/paper.yaml; docs/sweeps.md tells more.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from components.settings import Settings
from components.sweep import Limits, run_sweep
from components.sweep_plan import read_sweep
from components.sweep_report import report
from components.sweep_state import sweep_folder
from dtcm.config import Experiment
from dtcm.recipes import RECIPES
from pipelines.command_line import parse_with_recipe, run


@dataclass(frozen=True)
class SweepArguments:
    """Sweep fields of the experiment, and report it like the paper's tables."""

    recipe: str = "sample"
    """Named experiment from which the other flags start; see train_arid.py."""
    from_config: str = ""
    """JSON file of an experiment from which the other flags start, instead of a recipe."""
    sweep: str = "paper"
    """paper: Tables VII to IX, one factor at a time. joint: α, W_STC and k together. Or a YAML file like theirs."""
    also: tuple[str, ...] = ()
    """Further fields, such as "loss.w_col: [0.25, 0.5, 1]", or for a search
    "optim.lr: {low: 1e-5, high: 1e-3, log: true}"."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each point is trained with each of them."""
    name: str = ""
    """Name of the sweep; by default that of its file. Dates as strftime writes them, in UTC: weekly-%G-W%V."""
    limits: Limits = field(default_factory=Limits)
    experiment: Experiment = field(default_factory=Experiment)
    settings: Settings = field(default_factory=Settings)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, sweep, and print the report."""
    arguments = parse_with_recipe(lambda recipe: SweepArguments(recipe, experiment=RECIPES[recipe]()), argv)
    name = datetime.now(timezone.utc).strftime(arguments.name)
    sweep = read_sweep(arguments.sweep, arguments.experiment, name, arguments.also, arguments.seeds)
    run_sweep(sweep, arguments.settings, arguments.limits)
    print(f"\n{report(sweep, arguments.settings)}\nSweep folder: {sweep_folder(sweep, arguments.settings).uri}")


if __name__ == "__main__":
    run(main)
