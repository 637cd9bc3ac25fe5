"""The right frames of a file, or a reason why not."""

import pickle

import av
import numpy as np
import pytest

from dtcm.data import decode
from dtcm.data.decode import UnreadableVideo, VideoInfo, decode_all, probe, read_frames

BROKEN = ["corrupted.mp4", "bitmap.mp4", "no_duration.webm"]


@pytest.mark.parametrize(
    "indices",
    [[0], [39], [7, 8, 9], [5, 13, 21, 29], [38, 2, 2, 17, 38, 0], list(range(40)), np.array([30, 6])],
    ids=lambda indices: f"{len(indices)}-from-{indices[0]}",
)
def test_frames_come_as_asked_for(grey_video, numbers, indices):
    frames = read_frames(grey_video, indices)
    assert frames.shape == (len(indices), 48, 64, 3)
    assert frames.dtype == np.uint8
    assert numbers(frames) == list(indices)


def test_every_single_frame_is_the_one_of_that_number(grey_video, numbers):
    assert [numbers(read_frames(grey_video, [i]))[0] for i in range(40)] == list(range(40))


def test_a_path_its_string_and_its_bytes_give_the_same(grey_video):
    expected = read_frames(grey_video, [3, 20])
    assert np.array_equal(read_frames(str(grey_video), [3, 20]), expected)
    assert np.array_equal(read_frames(grey_video.read_bytes(), [3, 20]), expected)
    assert probe(grey_video.read_bytes()) == probe(grey_video)


def test_frames_are_those_of_another_decoder(noisy_video):
    with av.open(str(noisy_video)) as container:
        expected = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert np.array_equal(read_frames(noisy_video, range(12)), expected)


def test_channels_are_red_green_blue(write_video, tmp_path):
    red = np.zeros((3, 48, 64, 3), np.uint8)
    red[..., 0] = 200
    frame = read_frames(write_video(tmp_path / "red.mp4", red), [1])[0]
    assert np.allclose(frame.mean((0, 1)), [200, 0, 0], atol=4)


def test_resizing_averages_the_native_frames(noisy_video):
    native = read_frames(noisy_video, [4, 4, 1])
    half = read_frames(noisy_video, [4, 4, 1], size=(50, 40))
    assert half.shape == (3, 40, 50, 3)
    assert half.dtype == np.uint8
    # Antialiased bilinear at half size weighs four pixels on each axis by 1/8, 3/8, 3/8, 1/8.
    kernel = np.array([1, 3, 3, 1]) / 8
    rows = np.stack([native[:, 2 * y - 1 : 2 * y + 3].astype(float).swapaxes(1, -1) @ kernel for y in range(1, 39)], 1)
    expected = np.stack([rows[..., 2 * x - 1 : 2 * x + 3] @ kernel for x in range(1, 49)], 2)
    assert np.abs(half[:, 1:-1, 1:-1] - expected).max() <= 1
    assert np.array_equal(read_frames(noisy_video, [4, 4, 1], size=(100, 80)), native)


def test_probe_tells_what_the_file_is(write_video, tmp_path):
    path = write_video(tmp_path / "a.mp4", np.full((30, 48, 100, 3), 90, np.uint8), fps=25)
    assert probe(path) == VideoInfo(100, 48, fps=25.0, frames=30, duration_s=1.2, codec="h264", rotation_deg=0)


def test_decode_all_gives_every_frame_in_bounded_chunks(grey_video, numbers, monkeypatch):
    monkeypatch.setattr(decode, "CHUNK_BYTES", 7 * 48 * 64 * 3)
    chunks = list(decode_all(grey_video))
    assert max(map(len, chunks)) == 7
    assert numbers(np.concatenate(chunks)) == list(range(40))


def test_chunks_do_not_change_what_is_read(grey_video, numbers, monkeypatch):
    monkeypatch.setattr(decode, "CHUNK_BYTES", 5 * 48 * 64 * 3)
    assert numbers(read_frames(grey_video, [33, 4, 33, 12], size=(32, 24))) == [33, 4, 33, 12]


def test_a_frame_beyond_the_end_is_refused(grey_video):
    with pytest.raises(UnreadableVideo, match="40 frames, and frame 40"):
        read_frames(grey_video, [0, 40])


@pytest.mark.parametrize("indices", [[], [3, -1]])
def test_no_index_and_negative_indices_are_errors(grey_video, indices):
    with pytest.raises(ValueError, match="non-negative"):
        read_frames(grey_video, indices)


def sound_only(path):
    with av.open(str(path), "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.touch(), "the file is empty"),
        (lambda path: path.write_text("not a video\n" * 50), "not a video"),
        (lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000)), "not a video"),
        (sound_only, "no video stream"),
    ],
    ids=["empty", "text", "noise", "sound"],
)
def test_a_file_that_is_no_video_says_why(tmp_path, capfd, make, reason, as_bytes):
    path = tmp_path / "bad.mp4"
    make(path)
    for read in (probe, lambda source: read_frames(source, [0]), lambda source: list(decode_all(source))):
        with pytest.raises(UnreadableVideo, match=reason) as caught:
            read(path.read_bytes() if as_bytes else path)
        assert str(path) not in caught.value.reason
        assert as_bytes or str(path) in str(caught.value)
    assert "not a video\n" * 2 not in capfd.readouterr().err


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(UnreadableVideo, match="there is no such file"):
        probe(tmp_path / "nowhere.mp4")


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_mp4_is_unreadable(noisy_video, tmp_path, share):
    content = noisy_video.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: int(share * len(content))])
    with pytest.raises(UnreadableVideo):
        list(decode_all(tmp_path / "cut.mp4"))


def test_unreadable_survives_a_change_of_process():
    error = pickle.loads(pickle.dumps(UnreadableVideo("the file is empty", "a.mp4")))
    assert (error.reason, error.path) == ("the file is empty", "a.mp4")
    assert str(error) == "a.mp4 cannot be read: the file is empty."


@pytest.mark.parametrize("name", BROKEN)
def test_real_broken_files_are_unreadable(reference, name):
    with pytest.raises(UnreadableVideo):
        sum(map(len, decode_all(reference / "data" / "codecs" / name)))


@pytest.mark.parametrize(
    ("name", "width_px", "height_px", "frames", "codec", "rotation_deg"),
    [
        ("v_ApplyEyeMakeup_g01_c01.avi", 320, 240, 164, "mpeg4", 0),
        ("av1_video.mkv", 640, 360, 125, "av1", 0),
        ("big_buck_bunny_432_433.webm", 1280, 720, 24, "vp8", 0),
        ("h265_video.mp4", 128, 128, 10, "hevc", 0),
        ("nasa_13013.mp4", 480, 270, 390, "h264", 0),
        ("nasa_13013_rotated.mp4", 270, 480, 17, "h264", 90),
        ("video_180.mov", 568, 320, 3, "h264", 180),
        ("newtonscradle.gif", 200, 150, 36, "gif", 0),
    ],
)
def test_real_files_of_many_codecs(reference, name, width_px, height_px, frames, codec, rotation_deg):
    path = reference / "data" / "codecs" / name
    info = probe(path)
    assert (info.width_px, info.height_px, info.frames) == (width_px, height_px, frames)
    assert (info.codec, info.rotation_deg) == (codec, rotation_deg)
    every = np.concatenate(list(decode_all(path)))
    assert every.shape == (frames, height_px, width_px, 3)
    some = [frames - 1, frames // 2, 1]
    assert np.array_equal(read_frames(path, some), every[some])
