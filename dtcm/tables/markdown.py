"""A table of the paper in Markdown: ours beside print, what differs marked, and why."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dtcm.costs import Costs
from dtcm.tables.entry import Entry, Table, agrees
from dtcm.tables.measure import Measured
from dtcm.tables.statistics import accuracy, paired_difference

DIFFERS = "≠"
OTHER_VIDEOS = "tested on other videos than the row that it is compared with"


class Tested(NamedTuple):
    """The test of a finished run."""

    data: str
    """Hash over the videos of the run."""
    right: NDArray[Any]
    """Whether each test clip was recognised, in the order of the videos' names."""
    top5: float
    inconsistency: float


class Ours(NamedTuple):
    """What is known of a row here."""

    costs: Costs | None = None
    tested: Mapping[int, Tested] = {}
    """By seed."""
    measured: Measured | None = None
    problem: str = ""
    """Why it could not be counted or trained."""


def render(table: Table, chosen: Sequence[Entry], ours: Mapping[str, Ours], device: str) -> str:
    """The chosen rows of a table; columns in which nothing is known are left out.

    Args:
        table: of which the rows are.
        chosen: rows to show.
        ours: what is known of every row of the table, by label; differences need the rows that they refer to.
        device: where time and memory were measured, for the reader.
    """
    notes: list[str] = []
    rows = [_row(table, entry, ours, notes) for entry in chosen]
    columns = [name for name in rows[0] if any(row[name] for row in rows)]
    cells = [[name.partition("/")[0] for name in columns], ["---"] * len(columns)]
    cells += [[row[name] or "-" for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in cells]
    legend = _legend(table, columns, lines, device)
    return "\n".join([f"### {table.title}", "", *legend, "", *lines, "", *notes]).rstrip() + "\n"


def _row(table: Table, entry: Entry, ours: Mapping[str, Ours], notes: list[str]) -> dict[str, str]:
    """Cells by column; what follows a "/" only tells columns of one heading apart."""
    own, printed = ours[entry.label], entry.printed
    in_thousands = bool(entry.counted and not entry.counted.classifier)
    costs, seeds = own.costs, own.tested.values()
    row = {"#": str(table.entries.index(entry) + 1), "row": entry.label}
    row["params, k" if in_thousands else "params, M"] = ""
    cells = {
        "#": str(table.entries.index(entry) + 1),
        "row": entry.label,
        "parameters": _compared(costs and costs.params / (1e3 if in_thousands else 1e6), printed.get("params")),
        "print/params": printed.get("params", ""),
        "G operations": _compared(costs and costs.paper_ops / 1e9, printed.get("gops")),
        "print/gops": printed.get("gops", ""),
        "seeds": str(len(seeds) or ""),
        "Top-1, %": _share([float(test.right.mean()) for test in seeds], seeds),
        "print/top1": printed.get("top1", ""),
        "Top-5, %": _share([test.top5 for test in seeds], seeds),
        "print/top5": printed.get("top5", ""),
        "Δ Top-1": _difference(entry, ours),
        "print/delta": printed.get("delta", ""),
        "inconsistency": f"{np.mean([test.inconsistency for test in seeds]):.3g}" if seeds else "",
        "print/inconsistency": printed.get("inconsistency", ""),
    }
    return cells
