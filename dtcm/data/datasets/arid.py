"""ARID's lists, in the forms in which they are public.

ARID v1.0 (Xu et al., 2021): ARID_split{1,2,3}_{train,test,other}.txt with tabs: number, class id, path.
ARID v1.5 as released for the UG2+ challenge: ARID1.1_t1_{train,test}_pub.csv with a header: number,
path, class id. Their mapping table: class id, tab, name. The lists of other projects, "path class" and
"path frames class" with spaces, are read as well.

Videos lie in root/clips, or root/clips_v*, or root; those of a train or test list also in its folder
"train" or "test". Lists say .avi where many copies hold .mp4: the suffix may differ.
"""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, get_args

from dtcm.data.datasets.folder import class_of, group_of, list_videos
from dtcm.data.records import Subset, VideoRecord
from dtcm.errors import BadInput

V10_LIST = "ARID_split{split}_{subset}.txt"
V15_LIST = "ARID1.1_t1_{subset}_pub.csv"
V15_HEADER = ["VideoID", "Video", "ClassID"]
SINGLE_LIST = "list.txt"
MAPPING_TABLES = ("ARID_mapping_table.txt", "mapping_table.txt")


class ListEntry(NamedTuple):
    """A line of a list: a path below the videos folder, and its class id."""

    path: str
    label: int


def has_split_lists(lists: Path) -> bool:
    """Whether lists of ARID v1.0 or v1.5 lie in the folder."""
    return any(lists.glob(V10_LIST.format(split="*", subset="*"))) or any(lists.glob(V15_LIST.format(subset="*")))


def has_single_list(lists: Path) -> bool:
    """Whether the folder holds one list for all videos, with its mapping table."""
    return (lists / SINGLE_LIST).is_file() and _mapping_table(lists) is not None


def load_splits(root: Path, lists: Path, split: int) -> list[VideoRecord]:
    """The records of a split, their subset from the list that names them.

    Where lists of v1.0 and v1.5 lie side by side, v1.0 is read. Raises BadInput.
    """
    names = read_classes(lists)
    files = _split_lists(lists, split)
    return _to_records(root, {subset: read_list(file, names) for subset, file in files.items()}, names)


def load_single_list(root: Path, lists: Path) -> list[VideoRecord]:
    """The records of a list without a split, all "train". Raises BadInput."""
    names = read_classes(lists)
    return _to_records(root, {"train": read_list(lists / SINGLE_LIST, names)}, names)


def read_list(path: Path, classes: Sequence[str] | None = None) -> list[ListEntry]:
    """The entries of a list, its format told by its first line.

    Raises BadInput, with file and line, for a line that is malformed, a path that leaves the videos
    folder, and a class id for which `classes` has no name; and for a list without entries.
    """
    lines = [(number, line.strip()) for number, line in enumerate(_read_text(path).splitlines(), 1) if line.strip()]
    if lines and lines[0][1].split(",") == V15_HEADER:
        lines, parse = lines[1:], _parse_csv
    else:
        parse = _parse_tabs if lines and "\t" in lines[0][1] else _parse_spaces
    if not lines:
        raise BadInput(f"{path} lists no video; put the official list in its place.")
    entries = []
    for number, line in lines:
        entry = parse(line)
        if entry is None:
            raise BadInput(f"{path}, line {number}: {line!r} is not an entry; it must have a path and a class id.")
        if PurePosixPath(entry.path).is_absolute() or ".." in PurePosixPath(entry.path).parts:
            raise BadInput(f"{path}, line {number}: {entry.path!r} leads out of the folder of the videos.")
        if entry.label < 0 or (classes is not None and entry.label >= len(classes)):
            known = f"the mapping table has 0 to {len(classes) - 1}" if classes else "class ids count from 0"
            raise BadInput(f"{path}, line {number}: there is no class {entry.label}; {known}.")
        entries.append(entry)
    return entries


def read_classes(lists: Path) -> list[str] | None:
    """Class names by id, from the mapping table; None where there is no table.

    Raises BadInput for a malformed line, and for ids that are not 0, 1, 2, ...
    """
    table = _mapping_table(lists)
    if table is None:
        return None
    names: dict[int, str] = {}
    for number, line in enumerate(_read_text(table).splitlines(), 1):
        if line.strip():
            label, _, name = line.strip().replace("\t", " ").partition(" ")
            if not label.isdecimal() or not name.strip() or int(label) in names:
                raise BadInput(f"{table}, line {number}: {line!r} is not a new class id and its name.")
            names[int(label)] = name.strip()
    if sorted(names) != list(range(len(names))) or not names:
        raise BadInput(f"{table} must number its classes 0, 1, 2, ...; it has {sorted(names)}.")
    return [names[label] for label in range(len(names))]


def _mapping_table(lists: Path) -> Path | None:
    return next((lists / name for name in MAPPING_TABLES if (lists / name).is_file()), None)


def _split_lists(lists: Path, split: int) -> dict[Subset, Path]:
    v10 = {subset: lists / V10_LIST.format(split=split, subset=subset) for subset in get_args(Subset)}
    v15 = {subset: lists / V15_LIST.format(subset=subset) for subset in get_args(Subset)}
    is_v10 = any(lists.glob(V10_LIST.format(split="*", subset="*")))
    files = {subset: file for subset, file in (v10 if is_v10 else v15).items() if file.is_file()}
    if "train" not in files or "test" not in files or (not is_v10 and split != 1):
        found = sorted(file.name for pattern in ("ARID_split*_*.txt", "ARID1.1_*.csv") for file in lists.glob(pattern))
        raise BadInput(f"{lists} has no train and test list of split {split}; it has {', '.join(found)}.")
    return files


def _to_records(root: Path, lists: dict[Subset, list[ListEntry]], classes: list[str] | None) -> list[VideoRecord]:
    videos = videos_folder(root)
    find = _finder(videos)
    folders = {label: class_of(path) for entries in lists.values() for path, label in entries if class_of(path)}
    names = dict(enumerate(classes)) if classes else folders
    records: dict[str, VideoRecord] = {}
    missing = []
    for subset, path, label in ((subset, *entry) for subset, entries in lists.items() for entry in entries):
        video = find(path, subset)
        if video is None:
            missing.append(path)
        elif video in records:
            raise BadInput(f"{path} is listed twice, under {records[video].subset} and {subset}; list it once.")
        else:
            name = names.get(label, f"class {label}")
            records[video] = VideoRecord(video, str(videos / video), label, name, group_of(path), subset)
    if missing:
        raise BadInput(
            f"{len(missing)} of {len(missing) + len(records)} listed videos are not under {videos}, "
            f"such as {', '.join(missing[:3])}; let data.root name the folder that holds them."
        )
    return list(records.values())


def _finder(videos: Path) -> Callable[[str, Subset], str | None]:
    """Where a listed path lies below the videos folder: as listed, else with another suffix."""
    existing = list_videos(videos)
    by_name = {_stem(video): video for video in existing} | {video: video for video in existing}

    def find(path: str, subset: Subset) -> str | None:
        candidates = (path, _stem(path), f"{subset}/{path}", f"{subset}/{_stem(path)}")
        return next((by_name[name] for name in candidates if name in by_name), None)

    return find


def videos_folder(root: Path) -> Path:
    """Where the videos lie: root/clips, else the first root/clips_v*, else root."""
    return next((folder for folder in (root / "clips", *sorted(root.glob("clips_v*"))) if folder.is_dir()), root)


def _stem(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not a text file in UTF-8; put the official list in its place.") from error


def _entry(path: str, label: str) -> ListEntry | None:
    return ListEntry(path, int(label)) if path and label.removeprefix("-").isdecimal() else None


def _parse_csv(line: str) -> ListEntry | None:
    fields = next(csv.reader([line]))
    return _entry(fields[1].strip(), fields[2].strip()) if len(fields) == 3 else None


def _parse_tabs(line: str) -> ListEntry | None:
    fields = line.split("\t")
    return _entry(fields[2].strip(), fields[1].strip()) if len(fields) == 3 else None


def _parse_spaces(line: str) -> ListEntry | None:
    fields = line.rsplit(maxsplit=2)
    if len(fields) == 3 and fields[1].isdecimal():
        return _entry(fields[0], fields[2])
    path, _, label = line.rpartition(" ")
    return _entry(path.strip(), label)
