"""One file for all videos: a table of the user's own (CSV or Parquet, with a header), or a list without a split.

Columns of a table: `path`, and `label` or `class` or both; if wanted, `subset` (else all "train"), `group` and
`source`. The manifest of an index is such a table. A list is list.txt with mapping_table.txt beside it.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import get_args

import pyarrow as pa

from dtcm.data.datasets.arid import MAPPING_TABLES
from dtcm.data.datasets.listing import is_elsewhere
from dtcm.data.datasets.lists import Lists, leaves, read_classes, read_list, read_text, to_records
from dtcm.data.files import read_table
from dtcm.data.records import Subset, VideoRecord
from dtcm.errors import BadInput

SINGLE_LIST = "list.txt"
SUFFIXES = (".csv", ".parquet")

COLUMNS = ("path", "label", "class", "subset", "group", "source")
ALIASES = {"class_name": "class"}

Row = dict[str, str]


def lies_in(lists: Lists) -> bool:
    """Whether the user named a file, or a list without a split lies there with its mapping table."""
    return bool(lists.file) or (SINGLE_LIST in lists.names and any(name in lists.names for name in MAPPING_TABLES))


def read(lists: Lists, split: int) -> list[VideoRecord]:
    """The videos of the table or list; it has one split, which `data.split` can only divide further.

    A relative path is meant from the root, an absolute one or a URI stands for itself. Raises BadInput, with
    file and line, for what is wrong.
    """
    name = lists.file or _only_one(lists)
    place, classes = lists.place(name), read_classes(lists, MAPPING_TABLES)
    if not name.endswith(SUFFIXES):
        return to_records({"train": read_list(place, classes)}, classes)
    rows = list(_rows(place))
    if not rows:
        raise BadInput(f"{place} lists no video; give it a header with the column path, and a line for each video.")
    for line, row in rows:
        if wrong := _wrong(row, classes):
            raise BadInput(f"{place}, line {line}: {wrong}.")
    return _records(place, rows, classes)


def _records(place: str, rows: list[tuple[int, Row]], classes: Sequence[str] | None) -> list[VideoRecord]:
    """Labels that the table does not give are the places of the classes in the order of their names."""
    named = sorted({row["class"] for _, row in rows if row["class"]})
    order = {name: label for label, name in enumerate(classes or named)}
    pairs = [(line, int(row["label"]) if row["label"] else order[row["class"]], row["class"]) for line, row in rows]
    names = dict(enumerate(classes)) if classes else {label: name for _, label, name in reversed(pairs) if name}
    labels = {name: label for label, name in names.items()}
    for line, label, name in pairs:
        if name and (names[label] != name or labels[name] != label):
            raise BadInput(f"{place}, line {line}: class {name!r} with label {label} contradicts another line.")
    return [
        VideoRecord(
            video_id=row["path"],
            path=row["path"],
            label=label,
            class_name=names.get(label, f"class {label}"),
            group=row["group"],
            subset=_subset(row),
            source=row["source"],
        )
        for (_, row), (_, label, _) in zip(rows, pairs, strict=True)
    ]


def _wrong(row: Row, classes: Sequence[str] | None) -> str:
    """What is wrong with a row; empty if nothing is."""
    if not PurePosixPath(row["path"]).name:
        return "there is no path"
    if not is_elsewhere(row["path"]) and leaves(row["path"]):
        return f"{row['path']!r} leads out of the folder of the videos"
    if not row["label"] and not row["class"]:
        return "there is neither a label nor a class"
    if row["label"] and not re.fullmatch(r"[0-9]{1,6}", row["label"]):
        return f"the label {row['label']!r} is not a number from 0"
    if classes and row["label"] and int(row["label"]) >= len(classes):
        return f"there is no class {row['label']}; the mapping table has 0 to {len(classes) - 1}"
    if classes and row["class"] and row["class"] not in classes:
        return f"the mapping table has no class {row['class']!r}"
    if row["subset"] and row["subset"] not in get_args(Subset):
        return f"the subset {row['subset']!r} is none of {', '.join(get_args(Subset))}"
    return ""


def _subset(row: Row) -> Subset:
    return next((subset for subset in get_args(Subset) if subset == row["subset"]), "train")


def _only_one(lists: Lists) -> str:
    tables = sorted(name for name in lists.names if name.endswith(SUFFIXES) or name == SINGLE_LIST)
    if len(tables) != 1:
        has = f"holds {', '.join(tables[:5])}" if tables else "holds no table"
        raise BadInput(f"{lists.folder} {has}; let data.lists name the CSV or Parquet file of the videos.")
    return tables[0]


def _rows(place: str) -> Iterator[tuple[int, Row]]:
    """The rows of a table as text, absent columns empty, with their line numbers; the header is line 1."""
    rows = _parquet_rows(place) if place.endswith(".parquet") else _csv_rows(place)
    for line, row in rows:
        row = {ALIASES.get(name, name): value for name, value in row.items()}
        if "path" not in row or not {"label", "class"} & set(row):
            raise BadInput(f"{place} needs the column path, and label or class or both; it has {', '.join(row)}.")
        yield line, {name: row.get(name, "") for name in COLUMNS}


def _csv_rows(place: str) -> Iterator[tuple[int, Row]]:
    reader = csv.reader(io.StringIO(read_text(place), newline=""), strict=True)
    header: list[str] = []
    try:
        for fields in reader:
            if not header:
                header = [name.strip() for name in fields]
            elif len(fields) != len(header) and fields:
                raise BadInput(
                    f"{place}, line {reader.line_num}: {len(fields)} fields where the header has {len(header)}."
                )
            elif fields:
                yield reader.line_num, dict(zip(header, (field.strip() for field in fields), strict=True))
    except csv.Error as error:
        raise BadInput(f"{place}, line {reader.line_num}: this is not CSV ({error}).") from error


def _parquet_rows(place: str) -> Iterator[tuple[int, Row]]:
    try:
        table = read_table(place)
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{place} cannot be read as Parquet ({error}).") from error
    known = [name for name in table.column_names if name in (*COLUMNS, *ALIASES)]
    for line, row in enumerate(table.select(known).to_pylist(), 2):
        yield line, {name: "" if value is None else str(value) for name, value in row.items()}
