"""Which videos train, validate and test: what the data set's lists leave open is held out, by groups.

Clips of a group show the same person in the same scene, so a group that lay on both sides would make
recognition look better than it is. A test list that the data set brings is never touched.
"""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dtcm.config import DataConfig
from dtcm.data.records import Subset, VideoRecord
from dtcm.errors import BadInput

TRIALS = 30
"""Random choices that are compared where groups span classes."""
TEST, VAL = 0, 1
"""Purposes that keep the streams of random numbers apart."""


@dataclass(frozen=True)
class SplitReport:
    """How the videos were divided."""

    counts: dict[str, int]
    """Videos of each subset that has any."""
    val_by_group: bool
    """False where validation had to be held out clip by clip, so that it shares groups with training."""
    notes: tuple[str, ...]
    """Sentences for the user: what was held out, and how."""


def assign_subsets(
    records: Iterable[VideoRecord], data: DataConfig, seed: int
) -> tuple[list[VideoRecord], SplitReport]:
    """The records, sorted by video_id, each with its final subset, and a report.

    Without a test list, `data.test_fraction` of the training videos is held out for testing; then, unless
    the data set has validation videos, `data.val_fraction` of what remains for validation. Every class
    is divided by itself (all together where groups span classes), as close to the share as whole groups
    allow, and keeps at least one group in training; a video without a group is a group of its own. If
    most classes have a single group in training, validation is held out clip by clip.

    The result depends on the records, the shares and split number of `data`, and the seed, not on the
    records' order. Raises BadInput for a share outside [0, 1), a split below 1, or a seed below 0.
    """
    for name in ("test_fraction", "val_fraction"):
        if not 0 <= getattr(data, name) < 1:
            raise BadInput(f"data.{name} must be at least 0 and below 1; it is {getattr(data, name)}.")
    if data.split < 1 or seed < 0:
        raise BadInput(f"Splits count from 1 and seeds from 0; data.split is {data.split}, the seed {seed}.")
    records = sorted(records, key=lambda record: record.video_id)
    notes: list[str] = []
    if data.test_fraction > 0 and not any(record.subset == "test" for record in records):
        held = _hold_out(records, data.test_fraction, (seed, data.split, TEST), _scene)
        records = _move(records, held, "test")
        notes += [f"The data set has no test list, so {len(held)} videos are held out for testing."]
        notes += _classes_without(records, "test")
    val_by_group = True
    if data.val_fraction > 0 and not any(record.subset == "val" for record in records):
        held = _hold_out(records, data.val_fraction, (seed, data.split, VAL), _scene)
        if 2 * len(_labels(records, held)) < len({r.label for r in records if r.subset == "train"}):
            held, val_by_group = _hold_out(records, data.val_fraction, (seed, data.split, VAL), _clip), False
            notes += ["Validation shares groups with training, because most classes have a single group there."]
        records = _move(records, held, "val")
        notes += [f"{len(held)} training videos are held out to choose the best epoch."]
        notes += _classes_without(records, "val")
    return records, SplitReport(dict(Counter(record.subset for record in records)), val_by_group, tuple(notes))


def _hold_out(
    records: Sequence[VideoRecord], fraction: float, key: tuple[int, ...], unit_of: Callable[[VideoRecord], str]
) -> set[str]:
    """Ids of the training videos to hold out, in whole units."""
    units: dict[str, list[VideoRecord]] = defaultdict(list)
    for record in records:
        if record.subset == "train":
            units[unit_of(record)].append(record)
    labels = {unit: {record.label for record in members} for unit, members in units.items()}
    if any(len(of_unit) > 1 for of_unit in labels.values()):
        held = _best_of_many(units, labels, fraction, _rng(*key))
    else:
        held = _class_by_class(units, labels, fraction, key)
    return {record.video_id for unit in held for record in units[unit]}


def _class_by_class(
    units: dict[str, list[VideoRecord]], labels: dict[str, set[int]], fraction: float, key: tuple[int, ...]
) -> set[str]:
    """Units held out where each belongs to one class: every class as close to the fraction as can be."""
    strata: dict[int, list[str]] = defaultdict(list)
    for unit, (label,) in labels.items():
        strata[label].append(unit)
    held: set[str] = set()
    for number, stratum in strata.items():
        order = [stratum[i] for i in _rng(*key, number).permutation(len(stratum))]
        sizes = [len(units[unit]) for unit in order]
        held |= {order[i] for i in closest_subset(sizes, fraction * sum(sizes))}
    return held


def _best_of_many(
    units: dict[str, list[VideoRecord]], labels: dict[str, set[int]], fraction: float, rng: np.random.Generator
) -> set[str]:
    """Units held out where some span classes, as a place in which many actions were filmed.

    Of TRIALS random choices, the one with most classes on both sides, then closest to the fraction.
    """
    names, target = sorted(units), fraction * sum(len(members) for members in units.values())
    best: tuple[tuple[int, float], set[str]] = ((-1, 0.0), set())
    for _ in range(TRIALS):
        held, covered, size = set[str](), set[int](), 0
        training = Counter(label for of_unit in labels.values() for label in of_unit)
        for name in (names[i] for i in rng.permutation(len(names))):
            closer = abs(size + len(units[name]) - target) < abs(size - target)
            if (closer or labels[name] - covered) and all(training[label] > 1 for label in labels[name]):
                held.add(name)
                covered |= labels[name]
                size += len(units[name])
                training.subtract(labels[name])
        score = (len(covered), -abs(size - target))
        best = max(best, (score, held), key=lambda candidate: candidate[0])
    return best[1]


def closest_subset(sizes: Sequence[int], target: float) -> list[int]:
    """Indices whose sizes sum up closest to the target: some but not all; none of a single one.

    Subset sums by dynamic programming: `reached` maps a sum to the last index and the chain before it.
    """
    reached: dict[int, tuple] = {0: ()}
    for index, size in enumerate(sizes):
        for total, chain in list(reached.items()):
            if total <= target:
                reached.setdefault(total + size, (index, chain))
    totals = [total for total in reached if 0 < total < sum(sizes)]
    if not totals:
        return []
    chain, chosen = reached[min(totals, key=lambda total: (abs(total - target), total))], []
    while chain:
        index, chain = chain
        chosen.append(index)
    return chosen


def _move(records: Sequence[VideoRecord], held: Collection[str], subset: Subset) -> list[VideoRecord]:
    return [dataclasses.replace(r, subset=subset) if r.video_id in held else r for r in records]


def _labels(records: Sequence[VideoRecord], ids: Collection[str]) -> set[int]:
    return {record.label for record in records if record.video_id in ids}


def _classes_without(records: Sequence[VideoRecord], subset: Subset) -> list[str]:
    """A sentence that names the classes of which the subset has no video."""
    present = {record.class_name for record in records if record.subset == subset}
    absent = sorted({record.class_name for record in records} - present)
    kind = {"test": "test", "val": "validation"}[subset]
    return [f"No {kind} video for {', '.join(absent)}: too few groups, or too few videos, to divide."] if absent else []


def _scene(record: VideoRecord) -> str:
    """What must stay together: the group, by its number alone where it is named Class_number, else the source video.

    ARID numbers its groups within a class, but a number often means the same place: its Jump_11 and
    Run_11 were filmed in one corridor, and a model that knows Run_11 takes Jump_11 for a run.
    """
    return record.group.removeprefix(f"{record.class_name}_") or record.source or record.video_id


def _rng(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def _clip(record: VideoRecord) -> str:
    return record.video_id
