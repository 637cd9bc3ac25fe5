"""Every video is read completely, once; what is broken is named; what was found outlives the process."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from components import audit as audit_module
from components.audit import audit_each, audit_files, key
from components.index import index, index_files
from components.settings import Settings
from components.storage import Folder
from dtcm.config import DataConfig
from dtcm.darkness import darkness
from dtcm.data.datasets import load
from dtcm.data.decode import decode_all
from dtcm.data.records import MANIFEST, QUARANTINE
from dtcm.errors import BadInput
from tests.dtcm.data.test_decode_fuzz import BASES, KINDS, make_base, mutate
from tests.support.processes import wait_for
from tests.support.runs import upload


@pytest.fixture
def root(tiny_root, tmp_path):
    return Path(shutil.copytree(tiny_root, tmp_path / "videos"))


@pytest.fixture
def pile(root):
    """The 24 videos, four broken ones, and two files that are no videos."""
    (root / "empty.mp4").write_bytes(b"")
    (root / "text.mp4").write_text("not a video\n" * 100)
    whole = (root / "Left" / "Left_1_1.mp4").read_bytes()
    (root / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (root / "Right" / "noise.avi").write_bytes(np.random.default_rng(0).bytes(5000))
    (root / "notes.txt").write_text("x")
    (root / "picture.jpg").write_bytes(b"x")
    return root


def run_index(root, storage, share=0.0):
    data = DataConfig(root=str(root), dataset="tiny", max_quarantine_share=share)
    return index(load(data), data, Settings(storage=storage))


def test_every_video_is_read_completely(cluster, root, storage):
    manifest = run_index(root, storage)
    assert manifest.num_rows == 24
    for row in manifest.to_pylist():
        assert row["frames"] == sum(len(chunk) for chunk in decode_all(row["path"]))
        assert (row["width_px"], row["height_px"], row["fps"], row["codec"]) == (64, 48, 30, "h264")
        assert (row["dv"], row["mean_luma"], row["is_dark"]) == darkness(row["path"])
        released = row["dv_released"], row["mean_luma_released"], row["is_dark_released"]
        assert released == darkness(row["path"], rule="released")


def test_what_has_not_changed_is_not_read_again(cluster, root, storage, capsys):
    first = run_index(root, storage)
    os.utime(root / "Left" / "Left_1_1.mp4", (1, 1))
    assert "24 videos, 24 of them read" in capsys.readouterr().out
    second = run_index(root, storage)
    assert "24 videos, 1 of them read" in capsys.readouterr().out
    assert second.drop_columns("modified_s") == first.drop_columns("modified_s")


def test_broken_files_are_named_with_their_reason_and_stop_the_run(cluster, root, storage):
    (root / "Left" / "Left_1_1.mp4").write_bytes(b"")
    (root / "Right" / "Right_2_1.mp4").write_text("not a video\n" * 100)
    with pytest.raises(BadInput, match=r"2 of 24 videos cannot be read.*max-quarantine-share"):
        run_index(root, storage)
    quarantine = pq.read_table(f"{storage}/tiny/index/quarantine.parquet").to_pylist()
    assert [(row["video_id"], row["kind"]) for row in quarantine] == [
        ("Left/Left_1_1.mp4", "empty"),
        ("Right/Right_2_1.mp4", "not-a-video"),
    ]


def test_an_allowed_share_of_broken_files_is_left_out(cluster, root, storage):
    (root / "Left" / "Left_1_1.mp4").write_bytes(b"")
    manifest = run_index(root, storage, share=0.05)
    assert manifest.num_rows == 23
    assert "Left/Left_1_1.mp4" not in manifest["video_id"].to_pylist()


def test_a_pile_becomes_a_manifest_and_a_quarantine(cluster, pile, tmp_path):
    out = tmp_path / "out" / "pile.parquet"
    indexed = index_files(str(pile), str(out), Settings())
    assert pq.read_table(out).equals(indexed.manifest)
    assert pq.read_table(tmp_path / "out" / "pile.quarantine.parquet").equals(indexed.quarantine)
    assert (tmp_path / "out" / "pile.darkness.png").read_bytes().startswith(b"\x89PNG")
    assert indexed.manifest.schema.equals(MANIFEST)
    assert indexed.quarantine.schema.equals(QUARANTINE)
    assert indexed.manifest.num_rows == 24
    assert indexed.others == {".txt": 1, ".jpg": 1}
    assert all(row["class_name"] == row["video_id"].split("/")[0] for row in indexed.manifest.to_pylist())
    kinds = dict(zip(indexed.quarantine["video_id"].to_pylist(), indexed.quarantine["kind"].to_pylist(), strict=True))
    assert kinds == {
        "Right/noise.avi": "not-a-video",
        "cut.mp4": "truncated",
        "empty.mp4": "empty",
        "text.mp4": "not-a-video",
    }


def test_a_pile_is_read_once_and_every_file_on_demand(cluster, pile, tmp_path):
    out = str(tmp_path / "pile.parquet")
    assert index_files(str(pile), out, Settings()).read == 28
    assert index_files(str(pile), out, Settings()).read == 0
    every = index_files(str(pile), out, Settings(), every_file=True)
    assert (every.read, every.others, every.quarantine.num_rows) == (2, {}, 6)


def test_bad_places_are_refused_in_one_sentence(cluster, tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(BadInput, match="1 files and none is named as a video"):
        index_files(str(tmp_path), str(tmp_path / "m.parquet"), Settings())
    with pytest.raises(BadInput, match="no folder"):
        index_files(str(tmp_path / "nothing"), str(tmp_path / "m.parquet"), Settings())
    with pytest.raises(BadInput, match=r"end in \.parquet"):
        index_files(str(tmp_path), str(tmp_path / "m.csv"), Settings())


def without_place(table):
    return table.drop_columns([name for name in ("path", "modified_s") if name in table.column_names])


def test_the_index_of_a_failing_store_is_that_of_the_disk(cluster, faulty_s3, s3, pile, tmp_path):
    options, failures = faulty_s3
    upload(pile, f"{s3}/{tmp_path.name}")
    there = f"{s3}/{tmp_path.name}"
    remote = index_files(there + options, f"{there}/index.parquet", Settings())
    local = index_files(str(pile), str(tmp_path / "index.parquet"), Settings())
    assert failures
    assert without_place(remote.manifest).equals(without_place(local.manifest))
    assert without_place(remote.quarantine).equals(without_place(local.quarantine))
    assert index_files(there + options, f"{there}/index.parquet", Settings()).read == 0


def test_a_table_may_name_videos_in_hidden_folders_of_a_bucket(cluster, root, s3, tmp_path):
    there = f"{s3}/{tmp_path.name}"
    (root / "Left").rename(root / ".Left")
    for folder in (".Left", "Right"):
        upload(root / folder, f"{there}/{folder}")
    paths = [f"{there}/{folder}/{folder.strip('.')}_1_1.mp4" for folder in (".Left", "Right")]
    table = tmp_path / "videos.csv"
    table.write_text("path,label\n" + "".join(f"{path},{label}\n" for label, path in enumerate(paths)))
    data = DataConfig(root=str(root), lists=str(table), dataset="tiny")
    manifest = index(load(data), data, Settings(storage=str(tmp_path / "runs")))
    assert manifest["path"].to_pylist() == paths


@pytest.mark.slow
def test_an_index_that_is_killed_goes_on_where_it_was(cluster, tiny_root, tmp_path):
    """SIGKILL of the driver after its first write: the next run reads only what was not written down."""
    (tmp_path / "pile").mkdir()
    out = str(tmp_path / "i.parquet")
    videos = sorted(tiny_root.rglob("*.mp4"))
    for number in range(600):
        os.link(videos[number % 24], tmp_path / "pile" / f"{number:03d}.mp4")
    command = [sys.executable, "-m", "pipelines.index_videos", str(tmp_path / "pile"), "--out", out]
    journal = tmp_path / "i.audited"
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    while not list(journal.glob("part-*.parquet")):
        assert process.poll() is None, "it ended before anything was written down"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    written = sum(pq.read_metadata(part).num_rows for part in journal.glob("part-*.parquet"))
    assert 0 < written < 600
    again = index_files(str(tmp_path / "pile"), out, Settings())
    assert again.read == 600 - written
    assert again.manifest["video_id"].to_pylist() == [f"{n:03d}.mp4" for n in range(600)]
    assert [file.name for file in journal.iterdir()] == ["audited.parquet"]


@pytest.fixture
def good(tiny_root):
    return {"path": str(tiny_root / "Left" / "Left_1_1.mp4"), "bytes": 1, "modified_s": 0.0}


def signal_decoder(number):
    os.kill(audit_module._child().pid, number)


def outcomes(files, timeout_s=60):
    return [(row["path"], row["kind"]) for group in audit_each(files, timeout_s) for row in group]


@pytest.fixture
def three(tiny_root):
    names = ("Left_1_1.mp4", "Left_1_2.mp4", "Left_2_1.mp4")
    return [{"path": str(tiny_root / "Left" / name), "bytes": 1, "modified_s": 0.0} for name in names]


def test_a_decoder_that_hangs_costs_one_video(three):
    first, second, third = (file["path"] for file in three)
    assert outcomes(three) == [(first, ""), (second, ""), (third, "")]
    signal_decoder(signal.SIGSTOP)
    rows = list(chain(*audit_each(three, 10)))
    assert rows[0]["reason"] == "decoding took more than 10 s"
    assert [(row["path"], row["kind"]) for row in rows] == [(first, "timed-out"), (second, ""), (third, "")]


def test_what_a_cancelled_task_asked_for_is_no_answer_to_the_next_one(three):
    next(audit_each([three[0], *three], 60))
    (group,) = audit_each(three[1:2], 60)
    assert [(row["path"], row["sha256"]) for row in group] == [(three[1]["path"], sha256(three[1]["path"]))]


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_a_row_does_not_wait_for_a_file_that_takes_long(three, s3, proxied_s3):
    proxy = proxied_s3(lambda *_: "stall")
    slow = {"path": f"{s3}/slow.mp4{proxy.options}", "bytes": 1, "modified_s": 0.0}
    groups, found = iter(audit_each([*three, slow], 600)), []
    while len(found) < 3:
        found += next(groups)
    assert [row["path"] for row in found] == [file["path"] for file in three]
    audit_module._end_child()


def test_a_decoder_that_crashes_costs_one_video(three):
    first, second, third = (file["path"] for file in three)
    assert outcomes(three) == [(first, ""), (second, ""), (third, "")]
    signal_decoder(signal.SIGSTOP)  # so that it cannot be done before it is killed
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(outcomes, three)
        wait_for(lambda: audit_module._child().pending, "a file in the decoder's hands")
        signal_decoder(signal.SIGKILL)
        assert waiting.result() == [(first, "crashed"), (second, ""), (third, "")]


def test_a_decoder_that_died_while_it_had_nothing_to_do_costs_no_video(three):
    (first, *_) = outcomes(three)
    decoder = audit_module._child()
    signal_decoder(signal.SIGKILL)
    wait_for(lambda: not decoder.is_alive(), "the decoder's end")
    assert outcomes(three)[0] == first == (three[0]["path"], "")


def test_a_file_that_was_missing_is_sought_again_the_next_time(cluster, good, tmp_path):
    gone = {"path": str(tmp_path / "x.mp4"), "bytes": 1, "modified_s": 0.0}
    journal = Folder(str(tmp_path / "journal"))
    for _ in range(2):
        known, read = audit_files([good, gone], journal, 60)
        assert known[key(gone)]["kind"] == "missing"
    assert read == 1


@pytest.mark.slow
def test_a_thousand_damaged_files_harm_no_good_one_and_change_no_label(cluster, root, tmp_path):
    """Truncated and altered copies of videos of many formats among the 24 good ones."""
    alone = index_files(str(root), str(tmp_path / "alone.parquet"), Settings()).manifest.to_pylist()
    bases = [(Path(name).suffix, make_base(tmp_path / name, *how)) for name, *how in BASES]
    for number in range(1000):
        suffix, content = bases[number % len(bases)]
        _, damaged = mutate(content, np.random.default_rng(number))
        (root / ("Left", "Right")[number % 2] / f"damaged_{number}{suffix}").write_bytes(damaged)
    found = index_files(str(root), str(tmp_path / "pile.parquet"), Settings(), every_file=True)
    good, bad = found.manifest.to_pylist(), found.quarantine.to_pylist()
    every = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert sorted(row["video_id"] for row in good + bad) == every
    assert {row["kind"] for row in bad} <= KINDS | {"crashed", "timed-out"}
    assert 100 < len(bad) < 1000
    assert all(
        row["class_name"] == ("Left", "Right")[row["label"]] == Path(row["video_id"]).parent.name for row in good
    )
    assert [row for row in good if "damaged" not in row["video_id"]] == alone
