import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from components import index as index_module
from components.index import audit, index
from components.settings import Settings
from dtcm.config import DataConfig
from dtcm.data.datasets import load
from dtcm.data.decode import decode_all
from dtcm.errors import BadInput


@pytest.fixture
def root(tiny_root, tmp_path):
    return Path(shutil.copytree(tiny_root, tmp_path / "videos"))


def run_index(root, storage, share=0.0):
    data = DataConfig(root=str(root), dataset="tiny", max_quarantine_share=share)
    return index(load(data), data, Settings(storage=storage))


def test_every_video_is_read_completely(cluster, root, storage):
    manifest = run_index(root, storage)
    assert manifest.num_rows == 24
    for row in manifest.to_pylist():
        assert row["frames"] == sum(len(chunk) for chunk in decode_all(row["path"]))
        assert (row["width_px"], row["height_px"], row["fps"], row["codec"]) == (64, 48, 30, "h264")
        assert row["is_dark"] == (row["dv"] < -0.877)


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
    assert [(row["video_id"], row["reason"].split(",")[0]) for row in quarantine] == [
        ("Left/Left_1_1.mp4", "the file is empty"),
        ("Right/Right_2_1.mp4", "the file is not a video"),
    ]


def test_an_allowed_share_of_broken_files_is_left_out(cluster, root, storage):
    (root / "Left" / "Left_1_1.mp4").write_bytes(b"")
    manifest = run_index(root, storage, share=0.05)
    assert manifest.num_rows == 23
    assert "Left/Left_1_1.mp4" not in manifest["video_id"].to_pylist()


@pytest.fixture
def good(tiny_root):
    return {"path": str(tiny_root / "Left" / "Left_1_1.mp4"), "bytes": 1, "modified_s": 0.0}


def signal_decoder(number):
    for pid in index_module._child()._processes:
        os.kill(pid, number)


def test_a_decoder_that_hangs_costs_one_video(good, monkeypatch):
    assert audit(good)["reason"] == ""
    signal_decoder(signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr(index_module, "TIMEOUT_S", 1)
        assert audit(good)["reason"] == "decoding took more than 1 s"
    assert audit(good)["reason"] == ""


def test_a_decoder_that_crashes_costs_one_video(good):
    assert audit(good)["reason"] == ""
    signal_decoder(signal.SIGSTOP)  # so that it cannot be done before it is killed
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(audit, good)
        signal_decoder(signal.SIGKILL)
        assert waiting.result()["reason"] == "the decoder crashed"
    assert audit(good)["reason"] == ""
