"""Say what a data set's test videos share with its training videos: sources, groups, files, copies.

`python pipelines/audit_split.py --lists /data/dark48/lists` needs no video. Files and copies are compared where
the manifest of `index_videos.py`, or of a run, is named before the flags.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import tyro

from dtcm.config import DataConfig
from dtcm.data import leaks
from dtcm.data.datasets import load, read_lists
from dtcm.data.datasets.listing import Listing, locate
from dtcm.data.files import absolute, filesystem
from dtcm.data.records import RECORD, VideoRecord, to_table
from dtcm.data.splits import assign_subsets
from dtcm.errors import BadInput
from pipelines.command_line import run

NEEDED = {"video_id", "label", "class_name", "group", "subset"}
"""Columns without which a table is no manifest."""
SPLITS = (1, 2, 3)
"""Of which the lists are compared; ARID and Dark-48 have three."""


@dataclass(frozen=True)
class AuditArguments:
    """Say what test videos share with training videos, and how the test lists of the splits overlap."""

    videos: tyro.conf.Positional[str] = ""
    """Manifest (.parquet) of the videos, or their folder. Empty: only the lists are looked at."""
    lists: str = ""
    """Folder of the official lists. With a manifest, they say which part each of its videos is in."""
    format: Literal["auto", "arid-v1", "arid-v15", "uavhuman", "dark48", "table", "folder"] = "auto"
    """What data set it is; auto: by what lies there."""
    split: int = 1
    """Which split of the lists, from 1."""
    out: str = ""
    """Parquet file for what is shared, a row for each video and kind. Empty: it is only printed."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, audit, and print what was found."""
    args = tyro.cli(AuditArguments, args=argv)
    found = leaks.audit(_manifest(args) if args.videos.endswith(".parquet") else _records(args))
    print("\n".join(leaks.describe(found)))
    splits = _splits(args) if args.lists else {}
    if len(splits) > 1:
        print("\n".join(leaks.describe_overlaps(leaks.overlaps(splits))))
    if args.out:
        pq.write_table(leaks.to_table(found), args.out)
        print(f"Written: {args.out}")


def _records(args: AuditArguments) -> list[VideoRecord]:
    if args.videos:
        data = DataConfig(root=args.videos, lists=args.lists, format=args.format, split=args.split)
        return assign_subsets(load(data), data, seed=0)[0]
    if not args.lists:
        raise BadInput("Name a manifest (.parquet) or the folder of the videos, or let --lists name that of the lists.")
    return read_lists(args.lists, args.format, args.split)


def _manifest(args: AuditArguments) -> pa.Table:
    """The manifest, its videos in the parts that the lists say, where lists are named."""
    system, path = filesystem(absolute(args.videos))
    try:
        manifest = pq.read_table(path, filesystem=system)
    except (OSError, pa.ArrowInvalid) as error:
        raise BadInput(f"{args.videos} cannot be read as a manifest ({error}); index_videos.py writes one.") from error
    if lacking := sorted(NEEDED - set(manifest.column_names)):
        raise BadInput(f"{args.videos} is no manifest, it lacks {', '.join(lacking)}; index_videos.py writes one.")
    if not args.lists:
        return manifest
    rows = {row["video_id"]: row for row in manifest.to_pylist()}
    listed = read_lists(args.lists, args.format, args.split)
    found, missing = locate(listed, Listing("", (), "", tuple(rows)))
    if not found:
        raise BadInput(f"{args.videos} has none of the listed videos; index the folder in which {listed[0].path} lies.")
    print(f"{len(missing)} of {len(listed)} listed videos are not in the manifest.")
    schema = pa.unify_schemas([RECORD, manifest.schema])
    return to_table((rows[record.video_id] | asdict(record) for record in found), schema)


def _splits(args: AuditArguments) -> dict[int, list[VideoRecord]]:
    """The records of every split that the lists have."""
    splits = {}
    for split in SPLITS:
        with suppress(BadInput):
            splits[split] = read_lists(args.lists, args.format, split)
    return splits


if __name__ == "__main__":
    run(main)
