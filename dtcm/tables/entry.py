"""What a row of the paper's tables is, and what its model costs in the paper's convention."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import nn

from dtcm.config import DataConfig, ModelConfig
from dtcm.costs import Costs, count
from dtcm.errors import BadInput
from dtcm.models import CLASSIFIERS, ENHANCERS, build


@dataclass(frozen=True)
class Counted:
    """The model whose parameters and operations a row prints, as they were counted for the paper."""

    classifier: str = ""
    """Empty: the enhancer alone."""
    frames: int = 64
    size: int = 112
    classes: int = 11
    enhancer: str = "none"
    k: int = 4
    unseen: int = 0
    """Parameters that thop 0.0.31 passes over: tokens, positions and norms of its authors' own classes."""

    def model(self) -> nn.Module:
        """The model with random weights; called with a clip [1, 3, frames, size, size].

        Raises BadInput where an extra that it needs is not installed.
        """
        config = ModelConfig(enhancer=self.enhancer, classifier=self.classifier or "small3d", k=self.k)
        model = build(config, self.classes, self.frames, self.size).eval()
        return model if self.classifier else EnhancerAlone(model.enhancer, self.k)


class EnhancerAlone(nn.Module):
    """An enhancer with its k."""

    def __init__(self, enhancer: nn.Module, k: int) -> None:
        super().__init__()
        self.enhancer, self.k = enhancer, k

    def forward(self, clip_BCTHW: torch.Tensor) -> torch.Tensor:
        """The brightened clip."""
        return self.enhancer(clip_BCTHW, self.k).clip


@dataclass(frozen=True)
class Entry:
    """A row of a table."""

    label: str
    printed: Mapping[str, str] = field(default_factory=dict)
    """Figures as the paper prints them: params (in the table's unit), gops (10^9), top1, top5 and delta (%),
    inconsistency, memory."""
    overrides: Mapping[str, Any] | None = None
    """Fields of the experiment that make it this row; None if it is not built, which the note explains."""
    counted: Counted | None = None
    reference: str = ""
    """Label of the row that the difference in Top-1 is taken from."""
    timed_against: str = ""
    """Label of the row that time and memory are divided by."""
    note: str = ""
    """Where print is wrong or contradicts itself, or what a reader has to know."""


@dataclass(frozen=True)
class Table:
    """A table of the paper."""

    title: str
    entries: tuple[Entry, ...]
    note: str = ""
    params_unit: Literal["M", "k"] = "M"
    other_classifiers: bool = False
    """Whether the rows keep their meaning with a classifier other than the paper's."""


def costs(counted: Counted) -> Costs | None:
    """Costs as the paper counts them; None for a method of enhancement whose operations it does not count.

    Raises BadInput where an extra that the model needs is not installed.
    """
    if counted.enhancer not in ENHANCERS and counted.enhancer != "none":
        return None
    with torch.device("meta"):  # no time spent on initial weights
        model = counted.model()
    found = count(model, (1, 3, counted.frames, counted.size, counted.size))
    return found._replace(params=found.params - counted.unseen)


def agrees(value: float, printed: str) -> bool:
    """Whether a value, rounded to as many decimals as are printed, is what is printed."""
    return f"{value:.{len(printed.partition('.')[2])}f}" == printed


def choose(entries: Sequence[Entry], rows: Sequence[str]) -> list[Entry]:
    """The entries of these labels or numbers from 1, in the table's order; all if none is named.

    Raises BadInput for a row that there is not.
    """
    numbers = {str(number): entry for number, entry in enumerate(entries, start=1)}
    labels = {entry.label: entry for entry in entries}
    for row in rows:
        if row not in labels and row not in numbers:
            raise BadInput(f"There is no row {row!r}; the rows are {', '.join(labels)}, or 1 to {len(entries)}.")
    return [entry for number, entry in numbers.items() if not rows or {number, entry.label} & set(rows)]


def substitute(table: Table, classifiers: Sequence[str], data: DataConfig) -> Table:
    """The table with these classifiers, on the clips of `data`, instead of the paper's.

    Figures of the paper's classifiers are left out: they would stand beside something else. Raises BadInput for a
    table that compares classifiers, and for an unknown name.
    """
    if not table.other_classifiers:
        raise BadInput(f"{table.title}: its rows are the classifiers; choose among them with --rows.")
    if unknown := sorted(set(classifiers) - set(CLASSIFIERS)):
        raise BadInput(f"There is no classifier {unknown[0]!r}; the names are {', '.join(CLASSIFIERS)}.")
    first = next(entry.overrides["model.classifier"] for entry in table.entries if entry.overrides)
    template = [e for e in table.entries if e.overrides and e.overrides["model.classifier"] == first]
    entries = [_with_classifier(entry, name, data) for name in classifiers for entry in template]
    note = f"Classifier {', '.join(classifiers)} instead of the paper's, whose figures are therefore left out."
    return replace(table, entries=tuple(entries), note=f"{table.note} {note}".strip())


def own_input(table: Table) -> Table:
    """The table with every row trained on the experiment's own frames and crop; costs remain those of the print."""
    entries = [
        entry if entry.overrides is None else replace(entry, overrides=_model_fields(entry)) for entry in table.entries
    ]
    note = "Every row is trained on the experiment's frames and crop, not on the row's."
    return replace(table, entries=tuple(entries), note=f"{table.note} {note}".strip())


def _with_classifier(entry: Entry, name: str, data: DataConfig) -> Entry:
    def renamed(label: str) -> str:
        return label and f"{name}: {label.rpartition(': ')[2]}"

    counted, note, dropped = entry.counted, entry.note, {"top1", "top5", "delta"}
    if counted and counted.classifier:
        counted, note = replace(counted, classifier=name, frames=data.frames, size=data.crop_px), ""
    return replace(
        entry,
        label=renamed(entry.label),
        printed={key: value for key, value in entry.printed.items() if key not in dropped},
        overrides=_model_fields(entry) | {"model.classifier": name},
        counted=counted,
        reference=renamed(entry.reference),
        timed_against=renamed(entry.timed_against),
        note=note,
    )


def _model_fields(entry: Entry) -> dict[str, Any]:
    """What a row overrides besides the clip."""
    return {name: value for name, value in (entry.overrides or {}).items() if not name.startswith("data.")}
