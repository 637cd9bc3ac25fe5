import json
import os

import pytest

from components import storage
from components.storage import Folder, latest_checkpoint, prune_checkpoints, read_checkpoint, write_checkpoint
from dtcm.errors import BadInput


def test_a_file_comes_back_and_is_listed(folder):
    (folder / "a").write("b.txt", b"one")
    (folder / "a").write("b.txt", b"two")
    assert (folder / "a").read("b.txt") == b"two"
    assert folder.names() == ["a"]
    assert (folder / "a").names() == ["b.txt"]
    assert (folder / "a").has("b.txt")


def test_what_is_not_there_is_said_so(folder):
    assert not folder.has("nothing")
    assert (folder / "nothing").names() == []
    folder.remove("nothing")
    with pytest.raises(FileNotFoundError):
        folder.read("nothing")


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(tmp_path):
    folder = Folder(str(tmp_path))
    folder.write("file", b"whole")
    with pytest.raises(TypeError):
        folder.write("file", "not bytes")  # ty: ignore[invalid-argument-type]
    assert folder.read("file") == b"whole"
    assert os.listdir(tmp_path) == ["file"]


def test_the_latest_committed_checkpoint_is_found(folder):
    for step in (10, 20):
        write_checkpoint(folder, step, {"weights": b"w%d" % step, "state": b"s"})
    assert latest_checkpoint(folder) == (20, {"weights": b"w20", "state": b"s"})


def test_a_checkpoint_without_its_marker_does_not_exist(folder):
    write_checkpoint(folder, 10, {"weights": b"old"})
    write_checkpoint(folder, 20, {"weights": b"new"})
    (folder / "step_00000020").remove(storage.COMMITTED)
    assert latest_checkpoint(folder) == (10, {"weights": b"old"})


@pytest.mark.parametrize("damage", [b"neX", b"ne", None])
def test_a_damaged_checkpoint_is_not_used_and_said_so(folder, capsys, damage):
    write_checkpoint(folder, 10, {"weights": b"old"})
    write_checkpoint(folder, 20, {"weights": b"new"})
    if damage is None:
        (folder / "step_00000020").remove("weights")
    else:
        (folder / "step_00000020").write("weights", damage)
    assert latest_checkpoint(folder) == (10, {"weights": b"old"})
    assert "step_00000020 is incomplete or damaged" in capsys.readouterr().out


def test_pruning_keeps_the_latest_and_the_best(folder):
    for step in (1, 2, 3, 4, 5):
        write_checkpoint(folder, step, {"weights": b"%d" % step})
    prune_checkpoints(folder, latest=5, keep=2, best=2)
    assert storage.checkpoint_steps(folder) == [2, 4, 5]
    assert read_checkpoint(folder, 2) == {"weights": b"2"}


def test_pruning_does_not_take_later_damaged_checkpoints_for_those_to_keep(folder):
    for step in (3, 6, 9):
        write_checkpoint(folder, step, {"weights": b"%d" % step})
    (folder / "step_00000009").write("weights", b"torn")
    write_checkpoint(folder, 7, {"weights": b"7"})  # as by a training that went on from step 6
    prune_checkpoints(folder, latest=7, keep=1, best=3)
    assert storage.checkpoint_steps(folder) == [3, 7]
    assert latest_checkpoint(folder) == (7, {"weights": b"7"})


def test_pruning_counts_no_checkpoint_whose_writing_failed(folder):
    for step in (4, 6):
        write_checkpoint(folder, step, {"weights": b"%d" % step})
    (folder / "step_00000005").write("weights", b"half")
    prune_checkpoints(folder, latest=6, keep=2, best=6)
    assert storage.checkpoint_steps(folder) == [4, 6]


def test_the_marker_holds_every_files_sha256(tmp_path):
    write_checkpoint(Folder(str(tmp_path)), 3, {"weights": b"abc"})
    marker = json.loads((tmp_path / "step_00000003" / "COMMITTED").read_text())
    # FIPS 180-2's example for "abc".
    assert marker == {"weights": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}


def test_a_scheme_that_nobody_knows_is_refused_in_one_sentence():
    with pytest.raises(BadInput, match="ftp://"):
        Folder("ftp://host/runs").has("x")
