import shutil
from pathlib import Path

import av
import boto3
import numpy as np
import pyarrow.parquet as pq
import pytest

from components.predict import find_videos, predict_videos
from components.settings import Settings
from dtcm import metrics
from dtcm.data.decode import probe, read_frames
from dtcm.data.files import filesystem
from dtcm.data.plan import centre_rows
from dtcm.errors import BadInput


@pytest.fixture
def videos(tiny_root, tmp_path):
    """Six videos, a broken one and a file that is none."""
    for name in ("Left/Left_1_1", "Left/Left_2_1", "Left/Left_3_2", "Right/Right_1_1", "Right/Right_4_2"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tiny_root / f"{name}.mp4", tmp_path / "videos" / f"{name}.mp4")
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"no video at all")
    (tmp_path / "videos" / "notes.txt").write_text("x")
    return tmp_path / "videos"


def predict(trained, sources, out, hop=0, enhanced=""):
    return predict_videos(
        [str(source) for source in sources], trained.run.model, str(out), hop, enhanced, Settings(), False
    )


def test_the_central_clip_is_predicted_as_the_evaluator_predicts_it(cluster, trained, tiny_root, tmp_path):
    tested = trained.run.read_table("predictions.parquet").to_pylist()
    found = predict(trained, [tiny_root / row["video_id"] for row in tested], tmp_path / "p.parquet").table
    assert [Path(row["path"]).name for row in found.to_pylist()] == [Path(row["video_id"]).name for row in tested]
    for row, test in zip(found.to_pylist(), tested, strict=True):
        shares = metrics.probabilities(np.array([test["logits"]]))[0]
        assert row["classes"][0] == ("Left", "Right")[test["predicted"]]
        assert row["probabilities"] == pytest.approx(sorted(shares, reverse=True), abs=1e-5)
        assert row["inconsistency"] == pytest.approx(test["inconsistency"], rel=1e-4)


def test_a_window_has_the_numbers_of_the_evaluators_clip_of_the_same_frames(cluster, trained, tiny_root, tmp_path):
    tested = trained.run.read_table("predictions.parquet").to_pylist()[:3]
    sources = [tiny_root / row["video_id"] for row in tested]
    windows = predict(trained, sources, tmp_path / "p.parquet", hop=1).table.to_pylist()
    for source, test in zip(sources, tested, strict=True):
        begin = centre_rows((probe(str(source)).frames,), trained.run.experiment.data)[0].frames[0]
        (row,) = [row for row in windows if row["path"] == str(source) and row["start_frame"] == begin]
        shares = metrics.probabilities(np.array([test["logits"]]))[0]
        assert row["probabilities"] == pytest.approx(sorted(shares, reverse=True), abs=1e-5)
        assert row["inconsistency"] == pytest.approx(test["inconsistency"], rel=1e-4)


def test_windows_videos_and_quarantine_and_nothing_twice(cluster, trained, videos, tmp_path):
    out, bright = tmp_path / "out" / "p.parquet", tmp_path / "bright"
    first = predict(trained, [videos], out, hop=4, enhanced=str(bright))
    assert pq.read_table(out).equals(first.table)
    quarantine = pq.read_table(tmp_path / "out" / "p.quarantine.parquet").to_pylist()
    assert [(row["video_id"], row["kind"]) for row in quarantine] == [("broken.mp4", "not-a-video")]
    one = [row for row in first.table.to_pylist() if row["video_id"] == "Left/Left_1_1.mp4"]
    frames = len(read_frames(str(videos / "Left/Left_1_1.mp4"), range(10)))
    assert [row["start_frame"] for row in one][:2] == [0, 4]
    assert one[-1]["end_s"] * 30 >= frames
    assert one[0]["end_s"] - one[0]["start_s"] == pytest.approx(8 / 30)
    assert sorted(path.name for path in bright.rglob("*.mp4")) == sorted(p.name for p in videos.glob("*/*.mp4"))
    (videos / "Left" / "Left_1_1.mp4").unlink()
    shutil.copy(videos / "Right" / "Right_1_1.mp4", videos / "Right" / "new.mp4")
    second = predict(trained, [videos], out, hop=4, enhanced=str(bright))
    assert {row["video_id"] for row in second.table.to_pylist()} == {
        "Left/Left_2_1.mp4", "Left/Left_3_2.mp4", "Right/Right_1_1.mp4", "Right/Right_4_2.mp4", "Right/new.mp4",
    }  # fmt: skip
    assert second.enhanced == 1
    assert second.clips == sum(row["video_id"] == "Right/new.mp4" for row in second.table.to_pylist())


def test_from_and_to_a_bucket_is_the_same_as_on_disk(cluster, s3, trained, videos, tmp_path):
    for path in videos.glob("*/*.mp4"):
        system, place = filesystem(f"{s3}/{tmp_path.name}/videos/{path.relative_to(videos)}")
        with system.open_output_stream(place) as stream:
            stream.write(path.read_bytes())
    there = predict(trained, [f"{s3}/{tmp_path.name}/videos"], f"{s3}/{tmp_path.name}/p.parquet")
    here = predict(trained, [videos / "Left", videos / "Right"], tmp_path / "p.parquet")
    assert there.table["probabilities"] == here.table["probabilities"]


def test_keys_that_lead_elsewhere_are_neither_read_nor_written_there(cluster, s3, trained, tiny_root, tmp_path):
    video = (tiny_root / "Left" / "Left_1_1.mp4").read_bytes()
    for name in ("Left/a.mp4", "../b.mp4", f"{tmp_path}/c.mp4"):
        boto3.client("s3").put_object(Bucket="bucket", Key=f"{tmp_path.name}/videos/{name}", Body=video)
    sources = [f"{s3}/{tmp_path.name}/videos"]
    found = predict(trained, sources, tmp_path / "p.parquet", enhanced=str(tmp_path / "bright"))
    assert found.table["video_id"].to_pylist() == ["Left/a.mp4"]
    assert [(row["video_id"], row["kind"]) for row in found.quarantine.to_pylist()] == [
        (f"{tmp_path}/c.mp4", "unreachable")
    ]
    assert list(tmp_path.rglob("*.mp4")) == [tmp_path / "bright" / "Left" / "a.mp4"]


def test_sources_are_files_or_folders_and_each_video_counts_once(videos):
    found = find_videos([str(videos / "Left" / "Left_1_1.mp4"), str(videos / "Left")])
    assert [row["video_id"] for row in found] == ["Left_1_1.mp4", "Left_2_1.mp4", "Left_3_2.mp4"]


@pytest.mark.slow
def test_a_video_that_cannot_be_written_brightened_costs_nothing_else(cluster, trained, videos, tmp_path):
    """H.264 in 4:2:0 has no pictures of one pixel's width."""
    with av.open(str(videos / "thin.mov"), "w") as container:
        stream = container.add_stream("png", rate=30)
        stream.width, stream.height, stream.pix_fmt = 1, 48, "rgb24"
        for _ in range(10):
            picture = np.full((48, 1, 3), 30, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    found = predict(trained, [videos], tmp_path / "p.parquet", enhanced=str(tmp_path / "bright"))
    assert found.enhanced == 5
    assert "thin.mov" in found.table["video_id"].to_pylist()
    assert {row["video_id"]: row["kind"] for row in found.quarantine.to_pylist()} == {
        "broken.mp4": "not-a-video", "thin.mov": "not-enhanced",
    }  # fmt: skip
    assert pq.read_table(tmp_path / "p.parquet").num_rows == 6


def test_what_cannot_be_done_is_said(trained, videos, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="no video in"):
        predict(trained, [tmp_path / "empty"], tmp_path / "p.parquet")
    with pytest.raises(BadInput, match=r"There is no .*nothing"):
        predict(trained, [tmp_path / "nothing.mp4"], tmp_path / "p.parquet")
    with pytest.raises(BadInput, match=r"end in \.parquet"):
        predict(trained, [videos], tmp_path / "p.csv")
