"""Ray Data reads every file completely, once; what each gave is kept in a journal and never read again.

Each worker decodes in a child process that can be killed, so a decoder that crashes or hangs costs one
file and not the run. Rows come back and are written down within a second, so a kill loses the files of that
second and those that were being read.
"""

import functools
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import pyarrow as pa
import ray.data
from tqdm import tqdm

from components.parts import Parts
from components.storage import Folder, to_parquet
from dtcm.children import Child, ChildDied, ChildIsLate
from dtcm.data.container import UnreadableVideo
from dtcm.data.facts import read_facts
from dtcm.data.records import FACTS
from dtcm.errors import BadInput

FILES_PER_TASK = 128
"""Enough to hide what a task costs by itself, few enough that a lost machine costs little."""
GATHER_S = 0.5
"""So long a worker gathers rows before it hands them on: with each table worker and driver have some 2 ms of work."""
FOR_NOW = frozenset({"missing", "crashed", "timed-out", "unreachable"})
"""Kinds of failure that another day may not have: these files are tried again the next time."""

AUDITED = pa.schema(
    [("path", pa.string()), ("kind", pa.string()), ("reason", pa.string()), *((f.name, f.type) for f in FACTS)]
)
"""What reading a file gave: its facts, or the kind of failure, the reason, and no facts."""

GROUPED = pa.schema([("rows", pa.list_(pa.struct(list(AUDITED))))])
"""Rows of AUDITED as they are handed on. Ray cuts a table that is handed on at once into its rows, so that what belongs
together is one row."""

Row = dict[str, Any]
Key = tuple[str, int, float]
"""Path, size and time of change: while they stay, the file is the one that was read."""


def audit_files(
    files: list[Row], journal: Folder, timeout_s: float, facts: Sequence[Row] = ()
) -> tuple[dict[Key, Row], int]:
    """What reading every file gave, by its key, and how many of them were read now.

    Args:
        files: path, bytes and modified_s of each.
        journal: folder of what earlier runs found; it is read and added to.
        timeout_s: a file that takes longer is given up.
        facts: rows of AUDITED that are known from elsewhere.
    """
    known, parts = _read_journal(journal)
    known |= {key(row): row for row in facts}
    new = [file for file in files if key(file) not in known]
    with Parts(journal, AUDITED) as written:
        for row in _progress(stream(new, timeout_s), len(files), len(files) - len(new)):
            written.add(row)
            known[key(row)] = row
    if new or len(parts) > 1:
        journal.write("audited.parquet", to_parquet(pa.Table.from_pylist(list(known.values()), AUDITED)))
        for part in parts + written.names:
            journal.remove(part)
    return known, len(new)


def audit_each(files: Iterable[Row], timeout_s: float) -> Iterator[list[Row]]:
    """The files (path, bytes, modified_s) as rows of AUDITED, read one after the other in this worker's child process.

    Rows come in groups of what was read within GATHER_S; none waits for a file that takes longer. The child begins with
    the next file while the row of the last is still dealt with.
    """
    if _child().pending:  # of a task that was cancelled: what it asked for is answered first
        _end_child()
    left, handed = deque(files), deque[Row]()
    group, until_s = list[Row](), 0.0
    while left or handed:
        while left and len(handed) < 2:
            handed.append(left.popleft())
            _child().begin(handed[-1]["path"])
        if group and not _child().answers_within(max(0.0, until_s - time.monotonic())):
            yield group
            group = []
        file, found = handed.popleft(), _found(timeout_s)
        if found["kind"] in ("crashed", "timed-out"):
            _end_child()
            left.extendleft(reversed(handed))
            handed.clear()
        until_s = until_s if group else time.monotonic() + GATHER_S
        group.append(file | found)
        if time.monotonic() >= until_s or (not left and not handed):
            yield group
            group = []


def _found(timeout_s: float) -> Row:
    """The facts of the file that the child reads by now, or the kind of failure and the reason."""
    try:
        return {"kind": "", "reason": ""} | _child().result(timeout_s)
    except UnreadableVideo as error:
        return {"kind": error.kind, "reason": error.reason}
    except ChildDied:
        return {"kind": "crashed", "reason": "the decoder crashed"}
    except ChildIsLate:
        return {"kind": "timed-out", "reason": f"decoding took more than {timeout_s:g} s"}
    except (OSError, BadInput) as error:  # BadInput: of a key that cannot be asked for
        return {"kind": "unreachable", "reason": f"the file cannot be fetched ({error})"}


def key(row: Row) -> Key:
    """What tells a file from a changed one."""
    return row["path"], row["bytes"], row["modified_s"]


def stream(files: list[Row], timeout_s: float) -> Iterator[Row]:
    """The files (path, bytes, modified_s) as rows of AUDITED, soon after each is read."""
    if not files:
        return
    workers = max(1, int(ray.cluster_resources().get("CPU", 1)))
    blocks = max(min(len(files), 4 * workers), len(files) // FILES_PER_TASK)
    rows = ray.data.from_items(files, override_num_blocks=min(len(files), blocks))
    rows.context.target_max_block_size = 1  # a block is handed on with every row, not at the end of its task
    # By default a task waits at every other row until the driver has fetched it, which takes tenths of a second.
    rows.context._max_num_blocks_in_streaming_gen_buffer = FILES_PER_TASK
    read = functools.partial(_audit_task, timeout_s=timeout_s)
    audited = rows.map_batches(read, batch_size=None, batch_format="pyarrow")
    for block in audited.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for group in cast(pa.Table, block)["rows"].to_pylist():
            yield from group


def _audit_task(files: pa.Table, timeout_s: float) -> Iterator[pa.Table]:
    """A task's files as rows of GROUPED, which are handed on at once."""
    for group in audit_each(files.to_pylist(), timeout_s):
        yield pa.Table.from_pylist([{"rows": group}], GROUPED)


def _progress(rows: Iterator[Row], total: int, known: int) -> Iterable[Row]:
    """The rows, with a bar that shows the rate and the expected end; in a log, a line twice a minute."""
    interval_s = 0.2 if sys.stderr.isatty() else 30.0
    return tqdm(
        rows,
        "Reading videos",
        total,
        initial=known,
        unit=" videos",
        mininterval=interval_s,
        leave=False,
        smoothing=0.05,
    )


_decoder: Child | None = None
"""This worker's child process, for all videos until one of them breaks it."""


def _child() -> Child:
    """The decoder. One that died while it had nothing to do is replaced; one that died of a file says so itself."""
    global _decoder
    if _decoder is None or (not _decoder.pending and not _decoder.is_alive()):
        _decoder = Child(read_facts)
    return _decoder


def _end_child() -> None:
    global _decoder
    if _decoder is not None:
        _decoder.kill()
    _decoder = None


def _read_journal(journal: Folder) -> tuple[dict[Key, Row], list[str]]:
    """What is known of files that need not be read again, and the names of the parts that say so."""
    names = [name for name in journal.names() if name == "audited.parquet" or name.startswith("part-")]
    tables = [journal.read_table(name) for name in names]
    rows = [row for table in tables if table.schema.equals(AUDITED) for row in table.to_pylist()]
    return {key(row): row for row in rows if row["kind"] not in FOR_NOW}, [n for n in names if n.startswith("part-")]
