"""Set ours beside the paper's tables: costs at once, accuracies from finished runs, which `--run` makes.

`python pipelines/compare_models.py --table III` needs no data. On a small machine:
`python pipelines/compare_models.py --table VI --classifiers small3d --run --seeds 0 1 2`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from components import compare
from components.cluster import device_here
from components.settings import Settings
from dtcm.config import Experiment
from dtcm.recipes import RECIPES
from dtcm.tables import TABLES, choose, own_input, substitute
from dtcm.tables.markdown import render
from pipelines.command_line import parse_with_recipe, run


@dataclass(frozen=True)
class CompareArguments:
    """Print a table of the paper with ours beside it."""

    table: Literal["III", "IV", "V", "VI", "IX", "X", "XI"] = "III"
    """Number of the table."""
    run: bool = False
    """Train and test the rows that have no finished run of this experiment."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds with which each row is trained, or looked for among the finished runs."""
    rows: tuple[str, ...] = ()
    """Labels or numbers of the rows that are wanted. Empty: all."""
    classifiers: tuple[str, ...] = ()
    """Classifiers instead of the paper's in Tables VI, IX, X and XI, on the experiment's clips."""
    same_input: bool = False
    """Train every row on the experiment's frames and crop instead of the row's own."""
    weights: dict[str, str] = field(default_factory=dict)
    """Files from which enhancers and classifiers start, as NAME FILE NAME FILE; the others start at random."""
    measure: bool = False
    """Measure time and memory of each row's model here. On a CPU the largest take minutes."""
    out: str = ""
    """Markdown file for the table. Empty: it is only printed."""
    recipe: str = "sample"
    """Named experiment from which the other flags start; it says which data and which schedule."""
    experiment: Experiment = field(default_factory=Experiment)
    settings: Settings = field(default_factory=Settings)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, train what is missing and wanted, and print the table."""
    args = parse_with_recipe(lambda recipe: CompareArguments(recipe=recipe, experiment=RECIPES[recipe]()), argv)
    base, table = args.experiment, TABLES[args.table]
    if args.classifiers:
        table = substitute(table, args.classifiers, base.data)
    if args.same_input:
        table = own_input(table)
    chosen = choose(table.entries, args.rows)
    problems = {}
    if args.run:
        wanted = compare.experiments(chosen, base, args.seeds, args.weights)
        problems = compare.train_missing(wanted, base, args.settings)
    wanted = compare.experiments(table.entries, base, args.seeds, args.weights)
    ours = compare.collect(table, wanted, args.settings)
    compare.count(table, chosen, ours, device_here(args.settings) if args.measure else "")
    for label, problem in problems.items():
        ours[label] = ours[label]._replace(problem=problem)
    text = render(table, chosen, ours, compare.about(wanted))
    print(f"\n{text}")
    if not any(found.tested for found in ours.values()):
        print(f"No run of these rows is finished in {args.settings.storage_uri}; --run makes them.")
    if args.out:
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        Path(args.out).write_text(text)
        print(f"Written: {args.out}")


if __name__ == "__main__":
    run(main)
