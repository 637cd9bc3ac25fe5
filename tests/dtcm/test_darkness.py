"""Eq. 12-14 against plain loops, figures by hand, and real dark clips."""

import math

import av
import boto3
import numpy as np
import pytest

from dtcm.darkness import darkness, darkness_from_luma, mean_luma, sampled_indices
from dtcm.data import container
from dtcm.errors import BadInput


def grey(*levels):
    return np.array(levels, np.uint8)[:, None, None, None] * np.ones((1, 6, 8, 3), np.uint8)


def test_luma_is_the_rounded_weighted_sum_of_each_pixel():
    frames = np.random.default_rng(0).integers(0, 256, (2, 7, 5, 3), dtype=np.uint8)
    frames[0, 0, :4] = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]  # 76, 150, 29, 255
    expected = [
        sum(math.floor(0.299 * int(r) + 0.587 * int(g) + 0.114 * int(b) + 0.5) for r, g, b in frame.reshape(-1, 3)) / 35
        for frame in frames
    ]
    assert mean_luma(frames) == pytest.approx(expected, abs=1e-12)


def test_luma_of_all_colours_is_opencvs_fixed_point():
    levels = np.arange(0, 256, 15)
    colours = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 1, 1, 3)
    expected = (4899 * colours[..., 0] + 9617 * colours[..., 1] + 1868 * colours[..., 2] + 2**13) >> 14
    assert np.array_equal(mean_luma(colours.astype(np.uint8)), expected.ravel())


def test_frames_of_any_size_have_opencvs_luma():
    cv2 = pytest.importorskip("cv2")
    for height, width in ((1, 1), (128, 128), (127, 131), (200, 210)):
        frames = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
        expected = [cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb)[..., 0].mean() for frame in frames]
        assert mean_luma(frames).tolist() == expected


@pytest.mark.parametrize(
    ("level", "dv", "is_dark"),
    [(0, -1.0, True), (13, -99 / 112, True), (14, -0.875, False), (112, 0.0, False), (255, 143 / 112, False)],
)
@pytest.mark.parametrize("rule", ["paper", "released"])
def test_flat_videos_by_hand(level, dv, is_dark, rule):
    found = darkness(grey(*[level] * 16), rule=rule)
    assert found.dv == pytest.approx(dv)
    assert found.mean_luma == level
    assert found.is_dark is is_dark


def test_a_video_at_the_threshold_is_bright():
    # 14 / 112 = 1 / 8 is exact in binary, so Dv is -0.875 to the last bit.
    assert darkness(grey(*[14] * 8), tau=0.875).is_dark is False
    assert darkness(grey(*[14] * 8), tau=np.nextafter(0.875, 0)).is_dark is True


@pytest.mark.parametrize("total", [8, 9, 40, 64, 101])
def test_paper_takes_one_random_frame_of_each_eighth(total):
    seen = [set() for _ in range(8)]
    for seed in range(200):
        for segment, index in enumerate(sampled_indices(total, seed)):
            assert segment * total // 8 <= index < (segment + 1) * total // 8
            seen[segment].add(index)
    assert set.union(*seen) == set(range(total)), "every frame of every segment has its chance"


def test_released_takes_the_middle_of_each_whole_eighth():
    assert sampled_indices(64, rule="released") == [4, 12, 20, 28, 36, 44, 52, 60]
    assert sampled_indices(71, rule="released") == [4, 12, 20, 28, 36, 44, 52, 60]


@pytest.mark.parametrize("rule", ["paper", "released"])
@pytest.mark.parametrize("total", range(1, 8))
def test_short_videos_are_judged_by_the_frames_they_have(total, rule):
    indices = sampled_indices(total, 3, rule)
    assert len(indices) == 8
    assert set(indices) <= set(range(total))


def test_the_rules_differ_where_one_frame_is_bright():
    video = grey(*[0] * 7, 60)  # mean 7.5: Dv = -0.933; but only seven of eight frames are dark
    assert darkness(video, rule="paper").is_dark is True
    assert darkness(video, rule="released").is_dark is False
    assert darkness(video, rule="released", tau=0.875).is_dark is True, "seven of eight reach 0.875"


def test_dv_is_the_mean_over_the_sampled_frames():
    levels = np.random.default_rng(1).integers(0, 256, 50)
    for seed in range(5):
        sampled = [float(levels[i]) for i in sampled_indices(50, seed)]
        found = darkness(grey(*levels), seed)
        assert found.dv == pytest.approx(sum((level - 112) / 112 for level in sampled) / 8)
        assert found.mean_luma == pytest.approx(sum(sampled) / 8)
        assert found == darkness_from_luma(levels.astype(float), seed)


def test_the_seed_decides_the_frames():
    video = grey(*range(0, 200, 2))
    assert darkness(video, 1) == darkness(video, 1)
    assert len({darkness(video, seed).dv for seed in range(10)}) > 5


@pytest.fixture
def ramp(tmp_path):
    """90 frames that grow brighter, in groups of ten."""
    path = tmp_path / "ramp.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=30, options={"g": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for level in range(90):
            frame = np.full((48, 64, 3), level, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    return path


@pytest.mark.parametrize("rule", ["paper", "released"])
def test_a_file_its_bytes_and_its_frames_agree(ramp, rule):
    with av.open(str(ramp)) as file:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
    expected = darkness(frames, 5, rule)
    assert darkness(ramp, 5, rule) == darkness(str(ramp), 5, rule) == darkness(ramp.read_bytes(), 5, rule) == expected
    assert expected.mean_luma == pytest.approx(44.5, abs=8)


def test_a_video_in_a_bucket_is_fetched_once(ramp, s3, monkeypatch):
    boto3.client("s3").upload_file(str(ramp), s3.removeprefix("s3://"), "ramp.mp4")
    fetched = []
    read_bytes = container.read_bytes
    monkeypatch.setattr(container, "read_bytes", lambda uri: fetched.append(uri) or read_bytes(uri))
    assert darkness(f"{s3}/ramp.mp4", 5) == darkness(ramp, 5)
    assert fetched == [f"{s3}/ramp.mp4"]


@pytest.mark.parametrize(
    "frames", [np.zeros((0, 4, 4, 3), np.uint8), np.zeros((8, 4, 4, 3)), np.zeros((8, 4, 4), np.uint8)]
)
def test_what_is_no_video_is_refused(frames):
    with pytest.raises(BadInput):
        darkness(frames)


def test_real_arid_clips_are_darker_than_bright_ones(reference):
    def some(folder):
        return [darkness(path) for path in sorted((reference / "data" / folder).rglob("*.mp4"))[::10]]

    arid, bright = some("arid6/clips"), some("bright")
    assert np.median([found.dv for found in arid]) < -0.7
    assert max(found.dv for found in arid) < np.median([found.dv for found in bright])
    assert not any(found.is_dark for found in bright)
