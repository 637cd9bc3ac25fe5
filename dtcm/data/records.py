"""What is known about a video: the record before it is read, the manifest's row after.

A data set's lists become `VideoRecord`s. The index reads every video and adds what it found: a row of
`MANIFEST` for a video that can be used, a row of `QUARANTINE` for one that cannot.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

Subset = Literal["train", "val", "test", "other"]


@dataclass(frozen=True)
class VideoRecord:
    """A video of a data set, before anything of it is read."""

    video_id: str
    """Path below the videos folder, with "/": the video's name everywhere."""
    path: str
    """Full path or URI."""
    label: int
    """Class id, from 0."""
    class_name: str
    group: str = ""
    """Clips of one group show the same scene, so they must stay together. Empty: unknown."""
    subset: Subset = "train"
    """"other" videos belong to the data set but are neither trained nor tested on."""
    source: str = ""
    """The video that this clip was cut from, where its name tells; empty: unknown."""


RECORD = pa.schema(
    [
        ("video_id", pa.string()),
        ("path", pa.string()),
        ("label", pa.int32()),
        ("class_name", pa.string()),
        ("group", pa.string()),
        ("subset", pa.string()),
        ("source", pa.string()),
    ]
)
"""The columns of a `VideoRecord`."""

FACTS = pa.schema(
    [
        ("bytes", pa.int64()),
        ("modified_s", pa.float64()),
        ("sha256", pa.string()),
        ("width_px", pa.int32()),
        ("height_px", pa.int32()),
        ("fps", pa.float64()),
        ("frames", pa.int32()),
        ("duration_s", pa.float64()),
        ("codec", pa.string()),
        ("rotation_deg", pa.int32()),
        ("dv", pa.float64()),
        ("mean_luma", pa.float64()),
        ("is_dark", pa.bool_()),
        ("dv_released", pa.float64()),
        ("mean_luma_released", pa.float64()),
        ("is_dark_released", pa.bool_()),
        ("fingerprint", pa.list_(pa.uint64())),
    ]
)
"""What reading the whole video adds.

`modified_s` is seconds since 1970, `frames` are those really decoded. Darkness (Eq. 12-14) is by the paper's
rule and, in columns that end so, by that of the released script (dtcm.darkness). `fingerprint` finds copies
(dtcm.data.fingerprint)."""

MANIFEST = pa.schema([*RECORD, *FACTS])
"""A usable video: its record and its facts. Manifests are sorted by video_id."""

QUARANTINE = pa.schema(
    [("video_id", pa.string()), ("path", pa.string()), ("kind", pa.string()), ("reason", pa.string())]
)
"""A video that cannot be used, and why: a kind to count by, such as "truncated", and a sentence."""


def to_rows(records: Iterable[VideoRecord]) -> list[dict[str, Any]]:
    """The records as plain dicts, the form in which Ray Data and pyarrow take them."""
    return [dataclasses.asdict(record) for record in records]


def to_table(rows: Iterable[dict[str, Any]], schema: pa.Schema = MANIFEST) -> pa.Table:
    """Rows as a table of the schema, sorted by video_id; keys beyond the schema are left out.

    Raises KeyError for a missing key, ValueError for None, ArrowInvalid or ArrowTypeError for another type.
    """
    table = pa.Table.from_pylist([{name: row[name] for name in schema.names} for row in rows], schema=schema)
    if unknown := [name for name in schema.names if table.column(name).null_count]:
        raise ValueError(f"rows without a value for {', '.join(unknown)}")
    return table.sort_by("video_id")


def to_records(table: pa.Table) -> list[VideoRecord]:
    """The records within a manifest, in its order."""
    return [VideoRecord(**row) for row in table.select(RECORD.names).to_pylist()]
