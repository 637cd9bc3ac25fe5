"""A data set as Dark-48 is, from pools of labelled videos (Sec. IV): dark ones, frequent classes, three splits.

Pools are manifests of an index; a video's class is the folder that it lies in, as in Kinetics-700 and Moments
in Time. All is a pure function of the manifests and the seed; `dtcm.data.dark48_files` writes what comes of it.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa

from dtcm.darkness import Rule
from dtcm.data.datasets.dark48 import source_of, video_of
from dtcm.data.datasets.lists import read_text
from dtcm.data.records import MANIFEST
from dtcm.data.splits import TRIALS, closest_subset
from dtcm.errors import BadInput

SPLITS = (1, 2, 3)
TRAIN_SHARE = 0.8
POOL_COLUMNS = (
    "video_id", "path", "class_name", "sha256", "dv", "is_dark", "dv_released", "is_dark_released",
)  # fmt: skip

POOL = pa.schema([field for field in MANIFEST if field.name in POOL_COLUMNS])
"""What is needed of a pool's manifest; pools are such tables, one behind the other."""

SELECTION = pa.schema(
    [
        ("name", pa.string()),
        ("label", pa.int32()),
        ("class_name", pa.string()),
        ("source", pa.string()),
        ("path", pa.string()),
        ("pool_class", pa.string()),
        ("sha256", pa.string()),
        ("dv", pa.float64()),
        ("reason", pa.string()),
    ]
)
"""A video of the pools: `name` is how lists name it, class/file; `reason` why it was not chosen ("kind: words"),
empty if it was."""


def select(
    pools: pa.Table, minimum: int = 100, rule: Rule = "paper", category_map: Mapping[str, str] | None = None
) -> pa.Table:
    """Every video of the pools as a row of SELECTION, first the chosen ones, by class and name.

    Chosen are dark videos (Eq. 14, by `rule`) of classes that have at least `minimum` of them. A class has the
    name that `category_map` gives to the pools' class, else the pools' own, with "_" for spaces and "+"; so
    classes of one name are merged, and counted together. Of equal files in one class the first is chosen.

    Raises BadInput for a mapped class that no pool has, and if no class is left.
    """
    dv, dark = ("dv", "is_dark") if rule == "paper" else ("dv_released", "is_dark_released")
    names = _new_names(pools["class_name"].unique().to_pylist(), category_map or {})
    is_dark = np.asarray(pools[dark].to_pylist(), dtype=bool)
    rows = _candidates(pools.filter(pa.array(is_dark)).to_pylist(), names, dv)
    kept = _frequent(rows, minimum)
    labels = {name: label for label, name in enumerate(sorted(kept))}
    rows = [row | {"label": labels.get(row["class_name"], -1)} for row in rows]
    rows.sort(key=lambda row: (bool(row["reason"]), row["class_name"], row["name"]))
    return pa.concat_tables(
        [pa.Table.from_pylist(rows, SELECTION), _not_dark(pools.filter(pa.array(~is_dark)), names, dv)]
    )


def read_category_map(place: str) -> dict[str, str]:
    """The new class of each pool class, from a CSV file "pool class,new class"; that line may be its header.

    Raises BadInput, with file and line, for what is not two names, and for a class that is given twice.
    """
    names: dict[str, str] = {}
    for number, line in enumerate(read_text(place).splitlines(), 1):
        old, _, new = (part.strip() for part in line.partition(","))
        if not line.strip() or (number == 1 and (old, new) == ("pool class", "new class")):
            continue
        if not listed(old) or not listed(new) or "," in new or listed(old) in names:
            raise BadInput(f"{place}, line {number}: {line[:200]!r} is not a pool class of its own and its new class.")
        names[listed(old)] = listed(new)
    return names


def three_splits(selection: pa.Table, seed: int, by_source: bool = False) -> pa.Table:
    """The selection with the columns split1, split2, split3: "train", "test", or "" for what is not chosen.

    Every class trains on four fifths of its clips, rounded, drawn anew for each split. With `by_source` all
    clips of a source video stay together, and the shares are as close to that as the best of many draws.
    """
    chosen = chosen_of(selection).to_pylist()
    for split in SPLITS:
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, split))))
        test = _test_by_source(chosen, rng) if by_source else _test_by_clip(chosen, rng)
        subsets = ["test" if row["name"] in test else "train" for row in chosen]
        column = pa.array(subsets + [""] * (selection.num_rows - len(chosen)), pa.string())
        selection = selection.append_column(f"split{split}", column)
    return selection


def chosen_of(selection: pa.Table) -> pa.Table:
    """The rows of the videos that were chosen."""
    return selection.filter(pa.array([not reason for reason in selection["reason"].to_pylist()], pa.bool_()))


def listed(name: str) -> str:
    """A pool's class as Dark-48 writes it: "playing laser tag" and "playing+laser+tag" are playing_laser_tag."""
    return re.sub(r"[\s+/]+", "_", name.strip().strip("./"))


def _new_names(pool_classes: Iterable[str], category_map: Mapping[str, str]) -> dict[str, str]:
    own = {name: listed(name) for name in pool_classes}
    if unknown := sorted(set(category_map) - set(own.values())):
        raise BadInput(
            f"No pool has the class {unknown[0]!r} of the category map; the map has {len(category_map)} lines."
        )
    return {name: category_map.get(plain, plain) for name, plain in own.items()}


def _candidates(dark: list[dict], names: Mapping[str, str], dv: str) -> list[dict]:
    """Dark videos in the pools' order, each with a reason if an earlier one has its name or its content."""
    rows, first = [], dict[tuple[str, str], str]()
    for video in dark:
        class_name, file = names[video["class_name"]], PurePosixPath(video["video_id"]).name
        same = first.get((class_name, video["sha256"])) or first.get((class_name, file))
        reason = f"copy: {same} has the same name or content" if same else ""
        if not class_name:
            reason = "no class: it lies in no class folder"
        if not reason:
            first[class_name, video["sha256"]] = first[class_name, file] = video["path"]
        rows.append(
            {
                "name": f"{class_name}/{file}",
                "class_name": class_name,
                "source": source_of(file),
                "path": video["path"],
                "pool_class": video["class_name"],
                "sha256": video["sha256"],
                "dv": video[dv],
                "reason": reason,
            }
        )
    return rows


def _frequent(rows: list[dict], minimum: int) -> set[str]:
    """Classes with enough videos; gives the others' videos that reason."""
    counts = Counter(row["class_name"] for row in rows if not row["reason"])
    kept = {name for name, count in counts.items() if count >= minimum}
    if not kept:
        most = f"{counts.most_common(1)[0][0]} has most, {counts.most_common(1)[0][1]}" if counts else "none is dark"
        raise BadInput(f"No class has {minimum} dark videos ({most}); lower --minimum, or add pools.")
    for row in rows:
        if row["class_name"] not in kept and not row["reason"]:
            row["reason"] = f"rare class: it has {counts[row['class_name']]} dark videos, fewer than {minimum}"
    return kept


def _not_dark(bright: pa.Table, names: Mapping[str, str], dv: str) -> pa.Table:
    """Rows of SELECTION for videos that are not dark, column by column: they may be a million."""
    pool_classes, videos = bright["class_name"].to_pylist(), bright["video_id"].to_pylist()
    classes = [names[name] for name in pool_classes]
    columns = {
        "name": [f"{name}/{video.rpartition('/')[2]}" for name, video in zip(classes, videos, strict=True)],
        "label": [-1] * len(videos),
        "class_name": classes,
        "source": [""] * len(videos),
        "path": bright["path"],
        "pool_class": pool_classes,
        "sha256": bright["sha256"],
        "dv": bright[dv],
        "reason": ["not dark"] * len(videos),
    }
    return pa.table(columns, schema=SELECTION)


def _test_by_clip(chosen: Sequence[dict], rng: np.random.Generator) -> set[str]:
    by_class: dict[int, list[str]] = defaultdict(list)
    for row in chosen:
        by_class[row["label"]].append(row["name"])
    return {
        names[i]
        for names in by_class.values()
        for i in rng.permutation(len(names))[: len(names) - round(TRAIN_SHARE * len(names))]
    }


def _test_by_source(chosen: Sequence[dict], rng: np.random.Generator) -> set[str]:
    """Of TRIALS draws, the one whose classes together are closest to their shares.

    A draw puts sources that span classes on either side by chance, then fills up each class from its own.
    """
    units: dict[str, list[dict]] = defaultdict(list)
    for row in chosen:
        units[video_of(row["source"]) or row["name"]].append(row)
    total = Counter(row["label"] for row in chosen)
    target = {label: count - round(TRAIN_SHARE * count) for label, count in total.items()}
    best: tuple[int, set[str]] = (len(chosen) + 1, set())
    for _ in range(TRIALS):
        held = _draw(units, target, rng)
        counts = Counter(row["label"] for unit in held for row in units[unit])
        distance = sum(abs(counts[label] - wanted) for label, wanted in target.items())
        best = min(best, (distance, held), key=lambda draw: draw[0])
        if distance == 0:
            break
    return {row["name"] for unit in best[1] for row in units[unit]}


def _draw(units: Mapping[str, Sequence[dict]], target: Mapping[int, int], rng: np.random.Generator) -> set[str]:
    own: dict[int, list[str]] = defaultdict(list)
    held, room = set[str](), Counter(target)
    names = sorted(units)
    for unit in (names[i] for i in rng.permutation(len(names))):
        sizes = Counter(row["label"] for row in units[unit])
        if len(sizes) == 1:
            own[next(iter(sizes))].append(unit)
        elif rng.random() < 1 - TRAIN_SHARE and all(room[label] >= size for label, size in sizes.items()):
            held.add(unit)
            room.subtract(sizes)
    for label in sorted(own):
        if room[label] > 0:
            sizes = [len(units[unit]) for unit in own[label]]
            held |= {own[label][i] for i in closest_subset(sizes, room[label])}
    return held
