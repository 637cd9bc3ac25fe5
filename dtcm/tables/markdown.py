"""A table of the paper in Markdown: ours beside print, what differs marked, and why."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dtcm.costs import Costs
from dtcm.tables.entry import Entry, Table, agrees
from dtcm.tables.measure import Measured
from dtcm.tables.statistics import accuracy, paired_difference

UNITS = {"M": 1e6, "k": 1e3}
OTHER_VIDEOS = "was not tested on the same videos, or with the same seeds, as the row that it is compared with"
LEGEND = {
    "row": "In print: the paper's figure; ≠ marks ours where it is another.",
    "Top-1, %": "In brackets: Wilson's 95 % interval over the test clips; after it half of Student's over the seeds.",
    "Δ Top-1, %": "Δ is taken on the same clips and seeds; in brackets its 95 % bootstrap interval over the clips.",
    "clips/s": "Clips a second: forward, one clip at a time; × is the ratio to the row compared with. On a CPU only "
    "that is shown, and no memory, which torch counts on GPUs.",
    "memory, MiB": "Memory: the most allocated in that, weights included.",
}
"""What a reader has to know of a column, where it is there."""


class Outcome(NamedTuple):
    """Of the test of a finished run."""

    data: str
    """Hash over the videos of the run."""
    right: NDArray[Any]
    """Whether each test clip was recognised, in the order of the videos' names."""
    top5: float
    inconsistency: float


class Ours(NamedTuple):
    """What is known of a row here."""

    costs: Costs | None = None
    tested: Mapping[int, Outcome] = {}
    """By seed."""
    measured: Measured | None = None
    problem: str = ""
    """Why it could not be counted or trained."""


def render(table: Table, chosen: Sequence[Entry], ours: Mapping[str, Ours], about: str = "") -> str:
    """The chosen rows of a table. Columns of which nothing is known are left out.

    Args:
        table: whose rows they are.
        chosen: rows to show.
        ours: what is known of every row of the table, by label; rows are compared with others.
        about: a sentence on what ours were trained and tested on; shown where there is a test.
    """
    rows = [_row(table, entry, ours) for entry in chosen]
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    notes = [_note(entry, ours) for entry in chosen]
    numbers = {note: number for number, note in enumerate(dict.fromkeys(filter(None, notes)), start=1)}
    for row, note in zip(rows, notes, strict=True):
        row["row"] += f" [{numbers[note]}]" if note else ""
    cells = [names, *([row[name] or "-" for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    lines = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in cells]
    legend = [about if "seeds" in names else "", *(text for name, text in LEGEND.items() if name in names)]
    numbered = [f"{number}. {note}." for note, number in numbers.items()]
    parts = (f"### {table.title}", " ".join(filter(None, [table.note, *legend])), "\n".join(lines), "\n".join(numbered))
    return "\n\n".join(filter(None, parts)) + "\n"


def _row(table: Table, entry: Entry, ours: Mapping[str, Ours]) -> dict[str, str]:
    """Cells by the heading of their column."""
    own, printed = ours[entry.label], entry.printed
    costs, tests = own.costs, own.tested.values()
    return {
        "#": str(table.entries.index(entry) + 1),
        "row": entry.label,
        f"parameters, {table.params_unit}": _compared(
            costs and costs.params / UNITS[table.params_unit], printed.get("params", "")
        ),
        "parameters in print": printed.get("params", ""),
        "operations, G": _compared(costs and costs.paper_ops / 1e9, printed.get("gops", "")),
        "operations in print": printed.get("gops", ""),
        "clips/s": _speed(own.measured),
        "memory, MiB": _memory(own.measured),
        "memory in print": printed.get("memory", ""),
        "seeds": str(len(tests) or ""),
        "Top-1, %": _share([float(test.right.mean()) for test in tests], tests),
        "Top-1 in print": printed.get("top1", ""),
        "Top-5, %": _share([test.top5 for test in tests], tests),
        "Top-5 in print": printed.get("top5", ""),
        "Δ Top-1, %": _difference(entry, ours),
        "Δ Top-1 in print": printed.get("delta", ""),
        "inconsistency": f"{np.mean([test.inconsistency for test in tests]):.3g}" if tests else "",
        "inconsistency in print": printed.get("inconsistency", ""),
    }


def _compared(value: float | None, printed: str) -> str:
    """A value with at least two decimals, marked if print has another."""
    if value is None:
        return ""
    decimals = max(2, len(printed.partition(".")[2]))
    return f"{value:.{decimals}f}" + (" ≠" if printed and not agrees(value, printed) else "")


def _share(per_seed: Sequence[float], tests: Collection[Outcome]) -> str:
    if not per_seed:
        return ""
    found = accuracy(per_seed, min(len(test.right) for test in tests))
    over_seeds = "" if found.seeds is None else f" ±{found.seeds:.1%}"
    return f"{found.mean:.1%} ({found.low:.1%} to {found.high:.1%}){over_seeds}".replace("%", "")


def _common(entry: Entry, ours: Mapping[str, Ours]) -> list[tuple[Outcome, Outcome]]:
    """Tests of a row and of its reference with the same seed on the same videos."""
    if entry.reference in ("", entry.label):
        return []
    own, reference = ours[entry.label].tested, ours[entry.reference].tested
    pairs = [(own[seed], reference[seed]) for seed in sorted(own.keys() & reference.keys())]
    return [(test, other) for test, other in pairs if test.data == other.data == pairs[0][0].data]


def _difference(entry: Entry, ours: Mapping[str, Ours]) -> str:
    pairs = _common(entry, ours)
    if not pairs:
        return ""
    own, reference = (np.stack([test.right for test in tests]) for tests in zip(*pairs, strict=True))
    found = paired_difference(own, reference)
    return f"{found.mean:+.1%} ({found.low:+.1%} to {found.high:+.1%})".replace("%", "")


def _speed(measured: Measured | None) -> str:
    """Clips a second on a GPU; on a CPU, which the machine shares, only the ratio."""
    if measured is None:
        return ""
    ratio = f"×{measured.speed_ratio:.2f}"
    return ratio if measured.memory_mib is None else f"{1 / measured.seconds:.1f} {ratio}"


def _memory(measured: Measured | None) -> str:
    if measured is None or measured.memory_mib is None:
        return ""
    return f"{measured.memory_mib:.0f} ×{measured.memory_ratio:.2f}"


def _note(entry: Entry, ours: Mapping[str, Ours]) -> str:
    own, notes = ours[entry.label], [entry.note]
    compared = entry.reference not in ("", entry.label) and own.tested and ours[entry.reference].tested
    if compared and len(_common(entry, ours)) < len(own.tested):
        notes.append(OTHER_VIDEOS)
    return "; ".join(filter(None, [*notes, own.problem.rstrip(".")]))
