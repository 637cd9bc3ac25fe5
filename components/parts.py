"""Rows that a long run finds, written down soon after they come, so that a kill loses little of them."""

import threading
import uuid
from types import TracebackType
from typing import Any

import pyarrow as pa

from components.storage import Folder, to_parquet

PART_S = 0.5
"""A row is written down at the latest so long after it came, however long the next one is in coming."""


class Parts:
    """Files part-*.parquet of a folder, to which rows are added in a `with` block."""

    def __init__(self, folder: Folder, schema: pa.Schema) -> None:
        self.names: list[str] = []
        """Of the files that were written."""
        self._folder, self._schema = folder, schema
        self._rows: list[dict[str, Any]] = []
        self._error: Exception | None = None
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._write_now_and_then, name="parts", daemon=True)

    def __enter__(self) -> "Parts":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        try:
            self._write()
        except Exception:
            if error is None:
                raise

    def add(self, row: dict[str, Any]) -> None:
        """Take a row. Raises what writing earlier ones has raised, such as BadInput for a full disk."""
        if self._error:
            raise self._error
        with self._lock:
            self._rows.append(row)

    def _write_now_and_then(self) -> None:
        while not self._error and not self._ended.wait(PART_S):
            try:
                self._write()
            except Exception as error:
                self._error = error

    def _write(self) -> None:
        with self._lock:
            rows, self._rows = self._rows, []
        if not rows:
            return
        name = f"part-{uuid.uuid4().hex}.parquet"
        try:
            self._folder.write(name, to_parquet(pa.Table.from_pylist(rows, self._schema)))
        except Exception:
            with self._lock:
                self._rows = rows + self._rows
            raise
        self.names.append(name)
