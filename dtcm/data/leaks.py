"""What a test part shares with training: videos, files, copies, sources and groups. Pure functions of a manifest.

A test clip cut from a video that also gave training clips, or a copy of one of them, tests memory as well
as recognition. An audit names every such video, so that a run can be scored without them too. Videos held
out of training for validation count as training here: they choose the epoch, and so the figures of an
official list do not depend on how many are held out of it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import chain
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dtcm.data.fingerprint import WORDS, copies, is_blind
from dtcm.data.records import RECORD, Subset, VideoRecord, to_rows

Kind = Literal["same video", "same file", "near duplicate", "same source", "same group", "same scene"]
"""What videos share, from certain to doubtful.

"same video" is listed twice, "same file" has the same bytes, "near duplicate" has another file and a
fingerprint that agrees (dtcm.data.fingerprint). "same scene" is a number that groups of several classes
bear where they are named Class_number, as ARID's: often one place, sometimes not, so it is no leak.
"""
LEAKS: tuple[Kind, ...] = get_args(Kind)[:-1]
"""What counts as a leak."""
TRAINING: dict[Subset, tuple[Subset, ...]] = {"test": ("train", "val"), "val": ("train",)}
"""The parts that should share nothing, and with which."""
EXAMPLES = 3
"""Copies with contradictory labels that are named."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Shared:
    """A test or validation video that shares something with training."""

    video_id: str
    subset: Subset
    kind: Kind
    seen_id: str
    """The first training video that shares it, of the same class if there is one."""
    same_class: bool
    """Whether any training video that shares it is of the same class."""
    seen: int
    """How many training videos share it."""


@dataclass(frozen=True)
class CopySet:
    """Videos that are copies of each other: the same file, or near duplicates."""

    kind: Literal["same file", "near duplicate"]
    """"same file" if all have the same bytes."""
    video_ids: tuple[str, ...]
    subsets: tuple[Subset, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Audit:
    """What the parts of a data set share."""

    counts: dict[str, int]
    """Videos of each subset."""
    known: dict[tuple[Kind, str], int]
    """Of how many videos of a subset a kind can be told: of none the file from lists alone, of a black or
    motionless one no copies."""
    shared: tuple[Shared, ...]
    """By kind, then test before val, then in the order of the videos."""
    copy_sets: tuple[CopySet, ...]
    """All copies, across subsets and within them."""


@dataclass(frozen=True)
class Overlaps:
    """What the splits of a data set share."""

    tests: dict[tuple[int, int], int]
    """Test videos of split i that are test videos of split j too, by (i, j)."""
    in_both: dict[int, int]
    """Test videos that the same split has in training or validation too, by split."""


def audit(videos: pa.Table | Sequence[VideoRecord]) -> Audit:
    """What test and validation videos share with training, and all copies.

    Takes a manifest, or records, of which files and copies cannot be told. Videos of the subset "other"
    appear among copies only. 100,000 videos take about half a minute and 0.7 GB.
    """
    rows = _rows(videos)
    roots = _copy_roots(rows)
    values = _values(rows, roots)
    shared = [
        Shared(row["video_id"], subset, kind, *seen)
        for kind in values
        for subset in TRAINING
        for row, seen in _seen(rows, values[kind], subset)
    ]
    same_file = {found.video_id for found in shared if found.kind == "same file"}
    return Audit(
        counts=dict(Counter(row["subset"] for row in rows)),
        known=Counter((k, row["subset"]) for k in values for row, v in zip(rows, values[k], strict=True) if v),
        shared=tuple(s for s in shared if s.kind != "near duplicate" or s.video_id not in same_file),
        copy_sets=tuple(_copy_sets(rows, roots)),
    )


def leaked(audit: Audit) -> dict[str, str]:
    """The test videos that leak, and why: the first kind of LEAKS that applies."""
    reasons: dict[str, str] = {}
    for found in audit.shared:
        if found.subset == "test" and found.kind in LEAKS:
            reasons.setdefault(found.video_id, found.kind)
    return reasons


def leak_column(manifest: pa.Table) -> list[str]:
    """Why each test video of a manifest leaks, "" where it does not, in the order of video_id."""
    reasons = leaked(audit(manifest))
    test = manifest.filter(pc.field("subset") == "test").sort_by("video_id")
    return [reasons.get(video_id, "") for video_id in test["video_id"].to_pylist()]


def leaks_into(manifest: pa.Table, trained: pa.Table) -> list[str]:
    """As `leak_column`, for what the test videos share with the training and validation part of another manifest."""
    test = manifest.filter(pc.field("subset") == "test")
    seen = trained.filter((pc.field("subset") == "train") | (pc.field("subset") == "val"))
    return leak_column(pa.concat_tables([test, seen], promote_options="default"))


def overlaps(splits: Mapping[int, Iterable[VideoRecord]]) -> Overlaps:
    """What the splits of a data set share, by their numbers and records. Videos are told apart by video_id."""
    ids = {number: defaultdict[str, set[str]](set) for number in splits}
    for number, records in splits.items():
        for record in records:
            ids[number][record.subset].add(record.video_id)
    return Overlaps(
        tests={(i, j): len(ids[i]["test"] & ids[j]["test"]) for i in ids for j in ids},
        in_both={i: len(ids[i]["test"] & (ids[i]["train"] | ids[i]["val"])) for i in ids},
    )


def to_table(audit: Audit) -> pa.Table:
    """What is shared as a table: a row for each `Shared`, its fields as columns."""
    types = {"same_class": pa.bool_(), "seen": pa.int32()}
    schema = pa.schema([(field.name, types.get(field.name, pa.string())) for field in fields(Shared)])
    return pa.Table.from_pylist([asdict(found) for found in audit.shared], schema)


def describe(audit: Audit) -> list[str]:
    """The audit in lines that a person reads: what is shared, for what share of the part that is known, and copies."""
    parts = ", ".join(f"{count} {subset}" for subset, count in audit.counts.items())
    lines = [f"Audit of {sum(audit.counts.values())} videos: {parts}"]
    for subset in (subset for subset in TRAINING if subset in audit.counts):
        title = f"{subset} against {' and '.join(part for part in TRAINING[subset] if part in audit.counts)}"
        lines.append(f"{title:28s}{'videos':>8s}{'share':>8s}{'same class':>12s}{'known for':>11s}  such as")
        lines += [_describe_kind(audit, subset, kind) for kind in get_args(Kind)]
    tests = audit.counts.get("test", 0)
    lines.append(f"Leak-free: {tests - len(leaked(audit))} of {tests} test videos, as far as can be told.")
    return lines + _describe_copies(audit.copy_sets)


def describe_overlaps(overlaps: Overlaps) -> list[str]:
    """The splits in lines that a person reads: their test lists against each other, and against training."""
    heads = "".join(f"  test {j}" for j in overlaps.in_both)
    lines = [f"{'test videos that are also in':28s}{heads}  own training"]
    for i, in_both in overlaps.in_both.items():
        cells = "".join(f"{overlaps.tests[i, j]:8d}" for j in overlaps.in_both)
        lines.append(f"  test {i:<21d}{cells}{in_both:14d}")
    return lines


def _describe_kind(audit: Audit, subset: Subset, kind: Kind) -> str:
    found = [shared for shared in audit.shared if (shared.subset, shared.kind) == (subset, kind)]
    name = f"  {kind}{'' if kind in LEAKS else ' (no leak)'}"
    total = audit.counts[subset]
    known, trained = audit.known[kind, subset], sum(audit.known[kind, part] for part in TRAINING[subset])
    if not (known and trained):
        return f"{name:28s}{'-':>8s}{'-':>8s}{'-':>12s}{'-':>11s}"
    same_class = sum(shared.same_class for shared in found)
    example = f"  {found[0].video_id} and {found[0].seen_id}" if found else ""
    return f"{name:28s}{len(found):8d}{len(found) / total:8.1%}{same_class:12d}{known / total:11.1%}{example}"


def _describe_copies(copy_sets: Sequence[CopySet]) -> list[str]:
    if not copy_sets:
        return []
    spare = Counter(chain.from_iterable((Counter(found.subsets) - Counter(set(found.subsets))) for found in copy_sets))
    lines = [f"Copies: {sum(len(found.video_ids) for found in copy_sets)} videos in {len(copy_sets)} sets"]
    if spare:
        lines.append("  sets with several videos in one part: " + ", ".join(f"{spare[s]} in {s}" for s in spare))
    contradictory = [found for found in copy_sets if len(set(found.classes)) > 1]
    for found in contradictory[:EXAMPLES]:
        pairs = (f"{video_id} ({name})" for video_id, name in zip(found.video_ids, found.classes, strict=True))
        lines.append(f"  {found.kind} with contradictory labels: {', '.join(pairs)}")
    rest = len(contradictory) - EXAMPLES
    return lines + ([f"  and {rest} more sets with contradictory labels"] if rest > 0 else [])


def _rows(videos: pa.Table | Sequence[VideoRecord]) -> list[Row]:
    if not isinstance(videos, pa.Table):
        return to_rows(videos)
    return videos.select([name for name in videos.column_names if name in COLUMNS]).to_pylist()


COLUMNS = frozenset([*RECORD.names, "sha256", "fingerprint"])


def _values(rows: Sequence[Row], roots: Sequence[int]) -> dict[Kind, list[str]]:
    """What videos may share, by kind: videos with equal values share it, "" is unknown."""
    return {
        "same video": [row["video_id"] for row in rows],
        "same file": [row.get("sha256", "") for row in rows],
        "near duplicate": ["" if _blind(row) else str(root) for row, root in zip(rows, roots, strict=True)],
        "same source": [row.get("source", "") for row in rows],
        "same group": [row["group"] for row in rows],
        "same scene": [_scene(row) for row in rows],
    }


def _scene(row: Row) -> str:
    """The number of a group that is named Class_number, else empty."""
    number = row["group"].removeprefix(f"{row['class_name']}_")
    return "" if number == row["group"] else number


def _seen(rows: Sequence[Row], values: Sequence[str], subset: Subset) -> Iterator[tuple[Row, tuple[str, bool, int]]]:
    """The rows of a subset whose value training has too, each with seen_id, same_class and seen of `Shared`."""
    training: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row, value in zip(rows, values, strict=True):
        if value and row["subset"] in TRAINING[subset]:
            training[value][row["label"]].append(row["video_id"])
    for row, value in zip(rows, values, strict=True):
        if row["subset"] == subset and value in training:
            by_label = training[value]
            witnesses = by_label.get(row["label"]) or next(iter(by_label.values()))
            yield row, (witnesses[0], row["label"] in by_label, sum(map(len, by_label.values())))


def _copy_roots(rows: Sequence[Row]) -> list[int]:
    """For every row the place of the first row among its copies; its own place where it has none."""
    files = [row.get("sha256") or f"unread {place}" for place, row in enumerate(rows)]
    first: dict[str, int] = {}
    roots = [first.setdefault(file, place) for place, file in enumerate(files)]
    # Of equal files one is compared, so that a file that is there a thousand times makes no million pairs.
    single = np.array([place for place in first.values() if not _blind(rows[place])], np.int64)
    fingerprints_N9 = np.array([rows[place]["fingerprint"] for place in single], np.uint64).reshape(-1, WORDS)

    def root(place: int) -> int:
        while roots[place] != place:
            place = roots[place]
        return place

    for one, other in single[copies(fingerprints_N9)].tolist():
        low, high = sorted((root(one), root(other)))
        roots[high] = low
    return [root(place) for place in range(len(rows))]


def _copy_sets(rows: Sequence[Row], roots: Sequence[int]) -> Iterator[CopySet]:
    sets: dict[int, list[Row]] = defaultdict(list)
    for row, root in zip(rows, roots, strict=True):
        sets[root].append(row)
    for members in (members for members in sets.values() if len(members) > 1):
        ids, subsets, classes = (tuple(row[name] for row in members) for name in ("video_id", "subset", "class_name"))
        one_file = len({row.get("sha256") for row in members}) == 1
        yield CopySet("same file" if one_file else "near duplicate", ids, subsets, classes)


def _blind(row: Row) -> bool:
    return not row.get("fingerprint") or is_blind(row["fingerprint"])
