"""Official list files: a path and a class id on each line, in the ways in which data sets write them.

Tabs: number, class id, path (ARID v1.0). CSV with the header VideoID,Video,ClassID (ARID v1.5). Spaces:
"path class" (Dark-48) and "path frames class" (other projects). A mapping table gives names to class ids.
"""

import csv
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from pyarrow import fs

from dtcm.config import DataConfig
from dtcm.data.datasets.folder import class_of, group_of
from dtcm.data.files import absolute, filesystem, is_folder, is_uri, join, read_bytes
from dtcm.data.records import Subset, VideoRecord
from dtcm.errors import BadInput

CSV_HEADER = ["VideoID", "Video", "ClassID"]


class ListEntry(NamedTuple):
    """A line of a list: a path below the videos folder, and its class id."""

    path: str
    label: int


class Lists(NamedTuple):
    """A folder of list files."""

    folder: str
    """Path or URI."""
    names: frozenset[str]
    """The files that lie directly in it."""
    file: str = ""
    """The one that the user named, where it is a file and not a folder."""

    def place(self, name: str) -> str:
        """Path or URI of one of its files."""
        return join(self.folder, name)


def open_lists(place: str) -> Lists:
    """The lists in a folder, or the one list file that `place` names. Raises BadInput if there is neither."""
    place = absolute(place)
    folder, file = (place, "") if is_folder(place) else parent(place)
    names = names_in(folder) if is_folder(folder) else frozenset[str]()
    if file and file not in names:
        raise BadInput(f"There is no {place}; let data.lists name the folder of the list files, or a table.")
    return Lists(folder, names, file)


def lists_of(data: DataConfig, root: str, names: Collection[str]) -> Lists:
    """The lists of a data set: in `data.lists`, else in root/lists, else in the root, whose files are `names`."""
    if data.lists:
        return open_lists(data.lists)
    inside = "lists/" if any(name.startswith("lists/") for name in names) else ""
    direct = (name.removeprefix(inside) for name in names if name.startswith(inside))
    return Lists(join(root, "lists") if inside else root, frozenset(name for name in direct if "/" not in name))


def require(lists: Lists, wanted: Sequence[str]) -> None:
    """Raises BadInput, with what is missing and what there is, unless the lists named are all there."""
    if missing := [name for name in wanted if name not in lists.names]:
        there = sorted(name for name in lists.names if name.endswith((".txt", ".csv", ".parquet")))
        has = f"it has {', '.join(there[:12])}" if there else "it has no list"
        raise BadInput(
            f"{lists.folder} lacks {', '.join(missing)}; {has}; let data.lists name the folder of the lists."
        )


def read_list(place: str, classes: Sequence[str] | None = None) -> list[ListEntry]:
    """The entries of a list, its format told by its first line.

    Raises BadInput, with file and line, for a line that is malformed, a path that leaves the videos
    folder, and a class id for which `classes` has no name; and for a list without entries.
    """
    lines = [(number, line.strip()) for number, line in enumerate(read_text(place).splitlines(), 1) if line.strip()]
    if lines and lines[0][1].split(",") == CSV_HEADER:
        lines, parse = lines[1:], _parse_csv
    else:
        parse = _parse_tabs if lines and "\t" in lines[0][1] else _parse_spaces
    if not lines:
        raise BadInput(f"{place} lists no video; put the official list in its place.")
    entries = []
    for number, line in lines:
        entry = parse(line)
        if entry is None:
            raise BadInput(
                f"{place}, line {number}: {line[:200]!r} is not an entry: it must have a path and a class id."
            )
        if leaves(entry.path):
            raise BadInput(f"{place}, line {number}: {entry.path!r} leads out of the folder of the videos.")
        if entry.label < 0 or (classes is not None and entry.label >= len(classes)):
            known = f"the mapping table has 0 to {len(classes) - 1}" if classes else "class ids count from 0"
            raise BadInput(f"{place}, line {number}: there is no class {entry.label}; {known}.")
        entries.append(entry)
    return entries


def read_classes(lists: Lists, tables: Sequence[str]) -> list[str] | None:
    """Class names by id, from the first of the mapping tables named; None where there is none.

    Raises BadInput for a malformed line, and for ids that are not 0, 1, 2, ...
    """
    table = next((lists.place(name) for name in tables if name in lists.names), None)
    if table is None:
        return None
    names: dict[int, str] = {}
    for number, line in enumerate(read_text(table).splitlines(), 1):
        if line.strip():
            label, _, name = line.strip().replace("\t", " ").partition(" ")
            if not re.fullmatch(r"[0-9]{1,6}", label) or not name.strip() or int(label) in names:
                raise BadInput(f"{table}, line {number}: {line[:200]!r} is not a new class id and its name.")
            names[int(label)] = name.strip()
    if sorted(names) != list(range(len(names))) or not names:
        raise BadInput(f"{table} must number its classes 0, 1, 2, ...; it has {sorted(names)}.")
    return [names[label] for label in range(len(names))]


def to_records(entries: Mapping[Subset, Sequence[ListEntry]], classes: Sequence[str] | None) -> list[VideoRecord]:
    """Records of what is listed, their `path` the listed one: no video has been looked for.

    Names of classes come from the mapping table, else from the folders in the paths.
    """
    folders = {label: class_of(path) for listed in entries.values() for path, label in listed if class_of(path)}
    names = dict(enumerate(classes)) if classes else folders
    return [
        VideoRecord(path, path, label, names.get(label, f"class {label}"), group_of(path), subset)
        for subset, listed in entries.items()
        for path, label in listed
    ]


def parent(place: str) -> tuple[str, str]:
    """The folder in which a file lies, with what stands behind the "?" of a URI, and the file's name."""
    base, mark, options = place.partition("?") if is_uri(place) else (place, "", "")
    folder, _, name = base.rpartition("/")
    return folder + mark + options, name


def leaves(path: str) -> bool:
    """Whether a path leads out of the folder that it should lie in."""
    return PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts


def read_text(place: str) -> str:
    """The text of a list. Raises BadInput for what is not UTF-8, or cannot be read."""
    try:
        return read_bytes(place).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{place} is not a text file in UTF-8; put the official list in its place.") from error
    except OSError as error:
        raise BadInput(f"{place} cannot be read ({error}).") from error


def names_in(folder: str) -> frozenset[str]:
    """The files directly in a folder; what lies deeper may be a million videos."""
    system, path = filesystem(folder)
    found = system.get_file_info(fs.FileSelector(path))
    return frozenset(info.base_name for info in found if info.type == fs.FileType.File)


def _entry(path: str, label: str) -> ListEntry | None:
    named = PurePosixPath(path).name and re.fullmatch(r"-?[0-9]{1,6}", label)
    return ListEntry(str(PurePosixPath(path)), int(label)) if named else None


def _parse_csv(line: str) -> ListEntry | None:
    try:
        fields = next(csv.reader([line], strict=True))
    except csv.Error:
        return None
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
