"""Data sets as records: from official lists, from file names, or from a table, each checked against the files there.

`check` says what is there and what is missing, `find` the same or refuses, `load` gives the records alone, and
`read_lists` reads lists alone. Only lists and the names of files are read, no video; on disk and in S3 alike.
"""

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dtcm.config import DataConfig
from dtcm.data.datasets import arid, dark48, folder, table, uavhuman
from dtcm.data.datasets.listing import Listing, locate, look
from dtcm.data.datasets.lists import Lists, lists_of, open_lists, read_classes
from dtcm.data.records import VideoRecord
from dtcm.errors import BadInput

LISTED: dict[str, tuple[Callable[[Lists], bool], Callable[[Lists, int], list[VideoRecord]]]] = {
    "arid-v1": (arid.has_v10, arid.read_v10),
    "arid-v15": (arid.has_v15, arid.read_v15),
    "dark48": (dark48.lies_in, dark48.read),
    "table": (table.lies_in, table.read),
}
"""Formats with lists: whether a folder holds them, and the records of a split."""
NAMED = 5
"""Missing videos that a message names."""


@dataclass(frozen=True)
class Check:
    """What a data set's lists name, against what is there."""

    format: str
    """As DataConfig.format, found out where it was "auto"."""
    place: str
    """Where the videos were sought."""
    records: tuple[VideoRecord, ...]
    """Videos that are there, sorted by video_id."""
    missing: tuple[VideoRecord, ...]
    """Listed videos that are not there, but for those of ARID's list "other" where it is left alone."""
    notes: tuple[str, ...]
    """Sentences for the user: what is missing, and what is left alone."""


def load(data: DataConfig) -> list[VideoRecord]:
    """The records of the data set under `data.root`, sorted by video_id. Raises BadInput as `find` does."""
    return list(find(data).records)


def find(data: DataConfig) -> Check:
    """The data set under `data.root`, if enough of it is there.

    `data.format` says what it is; `data.lists` names the folder of the lists, or a table; else lists are sought
    in root/lists, then in root. Raises BadInput for a folder without a data set, a malformed list, and more
    missing videos than `data.max_missing_share` allows.
    """
    found = check(data)
    total = len(found.records) + len(found.missing)
    if not 0 <= data.max_missing_share < 1:
        raise BadInput(f"data.max_missing_share must be at least 0 and below 1; it is {data.max_missing_share}.")
    if len(found.missing) > data.max_missing_share * total:
        raise BadInput(
            f"{_of_missing(found.missing, total, found.place)}; let data.root name the folder that holds them, or "
            "allow a share of missing ones with --experiment.data.max-missing-share."
        )
    for note in found.notes:
        logging.getLogger("dtcm").warning(note)
    return found


def check(data: DataConfig) -> Check:
    """What the data set's lists name, and which of it is there. Raises BadInput for wrong lists alone."""
    listing = look(data.root)
    lists = lists_of(data, listing.root, listing.names)
    format = _format(data, lists, listing)
    listed = _other(data, _read(format, lists, listing, data.split), lists)
    records, missing = locate(listed, listing)
    left = [record for record in missing if record.subset == "other"]
    missing = [record for record in missing if record.subset != "other"]
    unlisted = sorted(set(listing.videos) - {record.video_id for record in records})
    notes = []
    if missing:
        notes.append(f"{_of_missing(missing, len(records) + len(missing), listing.folder)}.")
    if left:
        notes.append(f'{len(left)} videos of the list "other" are not there, and not needed.')
    if format == "uavhuman" and (absent := uavhuman.absent(listing.videos, data.split)):
        notes.append(absent)
    if unlisted:
        names = ", ".join(unlisted[:NAMED])
        notes.append(
            f"{len(unlisted)} videos under {listing.folder} are not listed and are left alone, such as {names}."
        )
    records.sort(key=lambda record: record.video_id)
    return Check(format, listing.folder, tuple(records), tuple(missing), tuple(notes))


def read_lists(lists: str, format: str = "auto", split: int = 1) -> list[VideoRecord]:
    """The records of official lists alone, in the lists' order: no video is looked for.

    `video_id` and `path` both are the listed path. Raises BadInput, also for a format whose lists are not there.
    """
    opened = open_lists(lists)
    known = _told(opened) if format == "auto" else [format]
    if len(known) != 1 or known[0] not in LISTED:
        has = f"holds lists of {' and '.join(known)}" if len(known) > 1 else "holds no lists that are known"
        raise BadInput(f"{lists} {has}; name one of the formats {', '.join(LISTED)}.")
    return LISTED[known[0]][1](opened, split)


def classes(records: Iterable[VideoRecord]) -> list[str]:
    """Class names by label. A label that no record has is called "class <label>"."""
    names = {record.label: record.class_name for record in records}
    return [names.get(label, f"class {label}") for label in range(max(names, default=-1) + 1)]


def _format(data: DataConfig, lists: Lists, listing: Listing) -> str:
    """The format that is configured, or the one that lies there. Raises BadInput where several or none do."""
    if data.format != "auto":
        return data.format
    told = _told(lists)
    if len(told) > 1:
        raise BadInput(f"{lists.folder} holds lists of {' and '.join(told)}; choose one with --experiment.data.format.")
    if data.lists and not told:
        raise BadInput(
            f"{lists.folder} has none of the known lists; let data.lists name their folder, or leave it empty."
        )
    return told[0] if told else "uavhuman" if uavhuman.lies_in(listing.videos) else "folder"


def _told(lists: Lists) -> list[str]:
    if lists.file:
        return ["table"]
    return [name for name, (lies_in, _) in LISTED.items() if lies_in(lists)]


def _read(format: str, lists: Lists, listing: Listing, split: int) -> list[VideoRecord]:
    if format in LISTED:
        return LISTED[format][1](lists, split)
    if format == "uavhuman":
        return uavhuman.read(listing.videos, listing.folder, split, read_classes(lists, [uavhuman.MAPPING_TABLE]))
    return folder.read(listing.videos, listing.folder)


def _other(data: DataConfig, records: list[VideoRecord], lists: Lists) -> list[VideoRecord]:
    """The records with those of the list "other" used as configured."""
    if data.other == "leave":
        return records
    if not any(record.subset == "other" for record in records):
        raise BadInput(f'{lists.folder} has no list "other" of split {data.split}; leave data.other at "leave".')
    return [dataclasses.replace(r, subset=data.other) if r.subset == "other" else r for r in records]


def _of_missing(missing: Iterable[VideoRecord], total: int, place: str) -> str:
    missing = list(missing)
    parts = ", ".join(f"{count} {subset}" for subset, count in Counter(record.subset for record in missing).items())
    names = ", ".join(record.path for record in missing[:NAMED])
    return f"{len(missing)} of {total} listed videos are not under {place} ({parts}), such as {names}"
