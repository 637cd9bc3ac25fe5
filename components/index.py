"""The manifest says which videos can be used and what they are, the quarantine which cannot and why.

`index` is for the videos of a data set before training; `index_files` for any pile of files, on disk or S3.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow as pa

from components.audit import Row, audit_files, key
from components.settings import Settings
from components.storage import Folder, folder_at, to_parquet
from dtcm import figures
from dtcm.config import DataConfig
from dtcm.data.datasets.folder import VIDEO_SUFFIXES, class_of, group_of
from dtcm.data.files import File, absolute, is_uri, join, list_files, read_table, split_options
from dtcm.data.records import FACTS, MANIFEST, QUARANTINE, VideoRecord, to_rows, to_table
from dtcm.errors import BadInput


class Indexed(NamedTuple):
    """What became of a pile of files."""

    manifest: pa.Table
    """A row of MANIFEST for every video that can be used."""
    quarantine: pa.Table
    """A row of QUARANTINE for every one that cannot."""
    read: int
    """Files read now; what had not changed since an earlier run was not read again."""
    others: dict[str, int]
    """Files left alone because their names are not those of videos, counted by suffix."""


def index(records: list[VideoRecord], data: DataConfig, settings: Settings) -> pa.Table:
    """The manifest of a data set's videos, each read completely now or, unchanged, before.

    Where the data set's table is itself a manifest, what it says of unchanged files is taken from it.
    Raises BadInput if more of them cannot be read than the configuration allows.
    """
    folder = Folder(settings.storage_uri) / data.name / "index"
    start_s = time.monotonic()
    rows = [row | stat for row, stat in zip(to_rows(records), _stats(records), strict=True)]
    good, bad, read = _audit(rows, folder, settings, _facts_of(data.lists))
    folder.write("quarantine.parquet", to_parquet(to_table(bad, QUARANTINE)))
    seconds = time.monotonic() - start_s
    print(f"Index: {len(rows)} videos, {read} of them read in {seconds:.0f} s, {len(bad)} unreadable", flush=True)
    _check_share(bad, len(rows), data, folder)
    return to_table(good, MANIFEST)


def index_files(root: str, out: str, settings: Settings, every_file: bool = False) -> Indexed:
    """Read all videos below a folder and write their manifest, quarantine and histogram of darkness.

    Args:
        root: folder or s3:// URI; the folder in which a video lies is taken as its class.
        out: Parquet file for the manifest; the others are written beside it, under its name.
        settings: the cluster, and the longest that a video may take.
        every_file: also read files whose names are not those of videos.

    Raises BadInput if there is no such folder, or no video in it.
    """
    root, (folder, name) = absolute(root), _place(out)
    files = list_files(root)
    videos = [file for file in files if every_file or PurePosixPath(file.name).suffix.lower() in VIDEO_SUFFIXES]
    if not videos:
        raise BadInput(
            f"{root} holds {len(files)} files and none is named as a video is ({', '.join(sorted(VIDEO_SUFFIXES))}); "
            "name another folder, or read every file with --every-file."
        )
    good, bad, read = _audit(_pile(root, videos), folder / f"{name}.audited", settings)
    manifest, quarantine = to_table(good, MANIFEST), to_table(bad, QUARANTINE)
    folder.write(f"{name}.quarantine.parquet", to_parquet(quarantine))
    if good:
        dv, dv_released = (manifest[column].to_numpy() for column in ("dv", "dv_released"))
        folder.write(f"{name}.darkness.png", figures.darkness_histogram(dv, dv_released))
    folder.write(f"{name}.parquet", to_parquet(manifest))
    known = {video.name for video in videos}
    others = Counter(PurePosixPath(file.name).suffix.lower() or "no suffix" for file in files if file.name not in known)
    return Indexed(manifest, quarantine, read, dict(others))


def _audit(
    rows: list[Row], journal: Folder, settings: Settings, facts: Sequence[Row] = ()
) -> tuple[list[Row], list[Row], int]:
    """The rows with what is known of their files, those that can be used and those that cannot."""
    files = [{name: row[name] for name in ("path", "bytes", "modified_s")} for row in rows]
    known, read = audit_files(files, journal, settings.video_timeout_s, facts)
    rows = [row | known[key(row)] for row in rows]
    return [row for row in rows if not row["kind"]], [row for row in rows if row["kind"]], read


def _facts_of(table: str) -> list[Row]:
    """What a manifest says of its files; nothing where the table is none."""
    if not table.endswith(".parquet"):
        return []
    manifest = read_table(table)
    if not {"path", *FACTS.names} <= set(manifest.column_names):
        return []
    return [{"kind": "", "reason": "", **row} for row in manifest.select(["path", *FACTS.names]).to_pylist()]


def _pile(root: str, videos: list[File]) -> list[Row]:
    """Records of files of which nothing is known but where they lie, with size and time."""
    classes = {name: label for label, name in enumerate(sorted({class_of(video.name) for video in videos}))}
    records = [
        VideoRecord(
            video_id=video.name,
            path=join(root, video.name),
            label=classes[class_of(video.name)],
            class_name=class_of(video.name),
            group=group_of(video.name),
        )
        for video in videos
    ]
    stats = ({"bytes": video.bytes, "modified_s": video.modified_s} for video in videos)
    return [row | stat for row, stat in zip(to_rows(records), stats, strict=True)]


def _stats(records: list[VideoRecord]) -> list[Row]:
    """Size and time of change of each record's file; one listing tells those of a bucket."""
    remote: dict[tuple[str, str], list[str]] = {}
    for path in (record.path for record in records if is_uri(record.path)):
        base, options = split_options(path)
        remote.setdefault((base.split("/")[2], options), []).append(base)
    listed = {}
    for (_, options), paths in remote.items():
        folder = _common_folder(paths) + options
        listed |= {join(folder, file.name): file for file in list_files(folder, hidden=True)}
    stats = []
    for record in records:
        if is_uri(record.path):
            stats.append({"bytes": listed[record.path].bytes, "modified_s": listed[record.path].modified_s})
        else:
            status = Path(record.path).stat()
            stats.append({"bytes": status.st_size, "modified_s": status.st_mtime})
    return stats


def _common_folder(uris: list[str]) -> str:
    first, last = min(uris).split("/"), max(uris).split("/")
    same = [a == b for a, b in zip(first[:-1], last[:-1], strict=False)]
    return "/".join(first[: same.index(False) if False in same else len(same)])


def _place(out: str) -> tuple[Folder, str]:
    """The folder of a Parquet file, and the file's name without its suffix."""
    if not out.endswith(".parquet"):
        raise BadInput(f"The manifest is a Parquet file; let --out end in .parquet, not {out!r}.")
    folder, _, name = absolute(out).rpartition("/")
    return folder_at(folder), name.removesuffix(".parquet")


def _check_share(bad: Iterable[Row], total: int, data: DataConfig, folder: Folder) -> None:
    bad = list(bad)
    if len(bad) <= data.max_quarantine_share * total:
        return
    raise BadInput(
        f"{len(bad)} of {total} videos cannot be read, first {bad[0]['path']} ({bad[0]['reason']}); mend or remove "
        f"them (all are named in {folder.uri}/quarantine.parquet), or allow the share with "
        "--experiment.data.max-quarantine-share."
    )
