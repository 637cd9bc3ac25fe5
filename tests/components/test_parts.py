"""What a long run finds is written down soon, whether or not more of it comes."""

import pyarrow as pa
import pytest

from components.parts import Parts
from components.storage import Folder
from tests.support.processes import wait_for

SCHEMA = pa.schema([("path", pa.string())])


def rows_of(folder):
    return sorted(row["path"] for name in folder.names() for row in folder.read_table(name).to_pylist())


def test_a_row_is_written_down_while_the_next_one_is_long_in_coming(folder):
    with Parts(folder, SCHEMA) as parts:
        parts.add({"path": "a"})
        assert wait_for(lambda: rows_of(folder), "the row") == ["a"]
        parts.add({"path": "b"})
    assert rows_of(folder) == ["a", "b"]
    assert sorted(parts.names) == sorted(folder.names())


def test_what_came_before_an_error_is_written_down(tmp_path):
    folder = Folder(str(tmp_path))

    def find():
        with Parts(folder, SCHEMA) as parts:
            parts.add({"path": "a"})
            raise KeyError("b")

    with pytest.raises(KeyError):
        find()
    assert rows_of(folder) == ["a"]
