"""Reads every video once, completely: the manifest says what can be used, the quarantine what cannot and why.

Ray Data shards the files. Each worker decodes in a child process that can be killed, so a decoder that
crashes or hangs costs one video and not the run. What was found is kept in the data set's folder, and a
video that has not changed since is not read again.
"""

import functools
import hashlib
import io
import multiprocessing
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray.data

from components.settings import Settings
from components.storage import Folder
from dtcm.config import DataConfig
from dtcm.darkness import darkness_from_luma, mean_luma
from dtcm.data.decode import UnreadableVideo, decode_all, probe
from dtcm.data.records import FACTS, MANIFEST, QUARANTINE, VideoRecord, to_rows, to_table
from dtcm.errors import BadInput

TIMEOUT_S = 600
"""A video that takes longer than this to decode is quarantined."""

MOST_TASKS = 1000
"""Into which the files are divided; enough for any cluster to be busy and for none to wait long at the end."""

AUDITED = pa.schema([("path", pa.string()), ("reason", pa.string()), *((field.name, field.type) for field in FACTS)])
"""What reading a file gave: its facts, or the reason why it cannot be used and no facts."""

Row = dict[str, Any]
Key = tuple[str, int, float]
"""Path, size and time of change: while they stay, the file is the one that was read."""


def index(records: list[VideoRecord], data: DataConfig, settings: Settings) -> pa.Table:
    """The manifest of the records' videos, each read completely now or, unchanged, before.

    Raises BadInput if more of them cannot be read than the configuration allows.
    """
    folder = Folder(settings.storage_uri) / data.name / "index"
    start_s = time.monotonic()
    known = _known(folder)
    rows = [row | _stat(row["path"]) for row in to_rows(records)]
    new = [row for row in rows if _key(row) not in known]
    known |= {_key(row): row for row in _audit_all(new)}
    rows = [row | known[_key(row)] for row in rows]
    bad = [row for row in rows if row["reason"]]
    folder.write("audited.parquet", _parquet(pa.Table.from_pylist(list(known.values()), AUDITED)))
    folder.write("quarantine.parquet", _parquet(to_table(bad, QUARANTINE)))
    seconds = time.monotonic() - start_s
    print(f"Index: {len(rows)} videos, {len(new)} of them read in {seconds:.0f} s, {len(bad)} unreadable", flush=True)
    _check_share(bad, len(rows), data, folder)
    return to_table((row for row in rows if not row["reason"]), MANIFEST)


def audit(file: Row) -> Row:
    """A file (path, bytes, modified_s) read in the child process, as a row of AUDITED."""
    try:
        return file | {"reason": ""} | _child().submit(read_facts, file["path"]).result(TIMEOUT_S)
    except UnreadableVideo as error:
        return file | {"reason": error.reason}
    except BrokenProcessPool:
        reason = "the decoder crashed"
    except FutureTimeoutError:
        reason = f"decoding took more than {TIMEOUT_S} s"
    _end_child()
    return file | {"reason": reason}


def read_facts(path: str) -> Row:
    """What a complete reading of a video gives: hash, size, frames as really decoded, darkness.

    Raises UnreadableVideo.
    """
    info = probe(path)
    luma_T = np.concatenate([mean_luma(frames_THWC) for frames_THWC in decode_all(path)])
    dark = darkness_from_luma(luma_T)
    return {
        "sha256": _sha256(path),
        "width_px": info.width_px,
        "height_px": info.height_px,
        "fps": info.fps,
        "frames": len(luma_T),
        "duration_s": len(luma_T) / info.fps,
        "codec": info.codec,
        "rotation_deg": info.rotation_deg,
        "dv": dark.dv,
        "mean_luma": dark.mean_luma,
        "is_dark": dark.is_dark,
    }


def _audit_all(rows: list[Row]) -> list[Row]:
    if not rows:
        return []
    files = [{name: row[name] for name in ("path", "bytes", "modified_s")} for row in rows]
    return ray.data.from_items(files, override_num_blocks=min(len(rows), MOST_TASKS)).map(audit).take_all()


@functools.cache
def _child() -> ProcessPoolExecutor:
    """This worker's child process, for all videos until one of them breaks it."""
    # Not forked: a decoder inherited through fork can hang.
    return ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn"))


def _end_child() -> None:
    child = _child()
    _child.cache_clear()
    for process in list((child._processes or {}).values()):
        process.kill()
    child.shutdown(wait=False, cancel_futures=True)


def _known(folder: Folder) -> dict[Key, Row]:
    if not folder.has("audited.parquet"):
        return {}
    table = pq.read_table(pa.BufferReader(folder.read("audited.parquet")))
    return {_key(row): row for row in table.to_pylist()} if table.schema.equals(AUDITED) else {}


def _key(row: Row) -> Key:
    return row["path"], row["bytes"], row["modified_s"]


def _stat(path: str) -> Row:
    status = Path(path).stat()
    return {"bytes": status.st_size, "modified_s": status.st_mtime}


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _check_share(bad: Iterable[Row], total: int, data: DataConfig, folder: Folder) -> None:
    bad = list(bad)
    if len(bad) <= data.max_quarantine_share * total:
        return
    raise BadInput(
        f"{len(bad)} of {total} videos cannot be read, first {bad[0]['path']} ({bad[0]['reason']}); mend or remove "
        f"them (all are named in {folder.uri}/quarantine.parquet), or allow the share with "
        "--experiment.data.max-quarantine-share."
    )


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
