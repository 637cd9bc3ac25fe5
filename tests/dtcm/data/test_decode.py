"""The right frames of a file, or a reason why not."""

import pickle
import re
from dataclasses import replace

import av
import boto3
import numpy as np
import pytest

from dtcm.data import decode
from dtcm.data.decode import (
    UnreadableVideo,
    VideoInfo,
    audit_frames,
    decode_all,
    probe,
    read_frames,
    sample_frames,
)


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


def test_frames_are_those_of_another_decoder(grey_video, noisy_video):
    decord = pytest.importorskip("decord")
    for path, count in ((grey_video, 40), (noisy_video, 12)):
        expected = decord.VideoReader(str(path), num_threads=1).get_batch(range(count)).asnumpy()
        assert np.array_equal(read_frames(path, range(count)), expected)


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
    assert probe(path) == VideoInfo(
        100, 48, fps=25.0, frames=30, duration_s=1.2, codec="h264", rotation_deg=0, announced_frames=30
    )


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
    ("make", "reason", "kind"),
    [
        (lambda path: path.touch(), "^empty", "empty"),
        (lambda path: path.write_text("not a video\n" * 50), "^not a video", "not-a-video"),
        (lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000)), "^not a video", "not-a-video"),
        (sound_only, "^no video stream", "no-video-stream"),
    ],
    ids=["empty", "text", "noise", "sound"],
)
def test_a_file_that_is_no_video_says_why(tmp_path, capfd, make, reason, kind, as_bytes):
    path = tmp_path / "bad.mp4"
    make(path)
    for read in (
        probe,
        lambda source: read_frames(source, [0]),
        lambda source: list(decode_all(source)),
        lambda source: audit_frames(source, range),
        lambda source: sample_frames(source, range),
    ):
        with pytest.raises(UnreadableVideo) as caught:
            read(path.read_bytes() if as_bytes else path)
        assert re.match(reason, caught.value.reason)
        assert caught.value.kind == kind
        assert str(path) not in caught.value.reason
        assert as_bytes or str(path) in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_missing_file_and_a_folder_say_so(tmp_path):
    with pytest.raises(UnreadableVideo, match="missing") as caught:
        probe(tmp_path / "nowhere.mp4")
    assert caught.value.kind == "missing"
    with pytest.raises(UnreadableVideo, match="a folder"):
        probe(tmp_path)


def test_unreadable_survives_a_change_of_process():
    error = pickle.loads(pickle.dumps(UnreadableVideo("empty: the file has 0 bytes", "a.mp4", "empty")))
    assert (error.reason, error.path, error.kind) == ("empty: the file has 0 bytes", "a.mp4", "empty")
    assert str(error) == "a.mp4 cannot be read: empty: the file has 0 bytes."


def test_a_colon_or_a_percent_sign_in_a_name_means_nothing(grey_video, tmp_path, monkeypatch, numbers):
    monkeypatch.chdir(tmp_path)
    for name in ("12:30.mp4", "%03d.mp4", "http:a b.mp4"):
        (tmp_path / name).write_bytes(grey_video.read_bytes())
        assert numbers(read_frames(name, [11])) == [11]


def test_a_video_in_a_bucket_is_read_as_one_on_disk(grey_video, s3, numbers):
    boto3.client("s3").upload_file(str(grey_video), s3.removeprefix("s3://"), grey_video.name)
    uri = f"{s3}/{grey_video.name}"
    assert numbers(read_frames(uri, [38, 3])) == [38, 3]
    assert probe(uri) == probe(grey_video)
    with pytest.raises(UnreadableVideo, match="missing") as caught:
        probe(f"{s3}/nowhere.mp4")
    assert str(caught.value).startswith(f"{s3}/nowhere.mp4 cannot be read")


@pytest.fixture(scope="session", params=["open", "closed", "refresh", "interlaced"])
def long_video(write_video, tmp_path_factory, request):
    """600 frames of noise, in groups of 50; of a video that is refreshed bit by bit, in one."""
    kinds = {"open": "open-gop=1", "closed": "open-gop=0", "refresh": "intra-refresh=1", "interlaced": "interlaced=1"}
    params = f"{kinds[request.param]}:keyint=50:min-keyint=50:bframes=3:b-adapt=0:scenecut=0:ref=3"
    coarse = np.random.default_rng(0).integers(0, 256, (600, 4, 4, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("long") / f"{request.param}.mp4"
    return write_video(path, coarse.repeat(8, 1).repeat(8, 2), options={"x264-params": params, "crf": "30"})


def test_sought_frames_are_those_of_decoding_everything(long_video):
    every = np.concatenate(list(decode_all(long_video)))
    rng = np.random.default_rng(1)
    for count in (1, 2, 8):
        wanted = rng.integers(0, 600, count).tolist()
        assert np.array_equal(sample_frames(long_video, lambda _, wanted=wanted: wanted), every[wanted])
    assert np.array_equal(read_frames(long_video, [599, 520, 520, 521]), every[[599, 520, 520, 521]])


@pytest.mark.parametrize("long_video", ["open", "closed"], indirect=True)
def test_seeking_decodes_only_the_groups_that_it_needs(long_video, monkeypatch):
    every = np.concatenate(list(decode_all(long_video)))
    monkeypatch.setattr(decode, "all_frames", lambda video: pytest.fail("all frames were decoded"))
    assert np.array_equal(read_frames(long_video, [590]), every[[590]])
    assert np.array_equal(sample_frames(long_video, lambda total: range(25, total, 75)), every[25::75])


def test_an_audit_decodes_everything_and_keeps_what_is_asked_for(grey_video, numbers):
    seen = []

    def indices_of(total):
        seen.append(total)
        return [total - 1, 3, 3, 20]

    found = audit_frames(grey_video, indices_of)
    assert numbers(found.sampled) == [39, 3, 3, 20]
    assert found.info == probe(grey_video)
    assert set(seen) == {40}


def test_an_audit_counts_what_is_there_where_the_packets_promise_more(grey_video, numbers, monkeypatch):
    scan = decode.scan
    monkeypatch.setattr(decode, "scan", lambda *args: replace(scan(*args), frames=43))
    found = audit_frames(grey_video, lambda total: [total // 2, total - 1])
    assert numbers(found.sampled) == [20, 39]
    assert (found.info.frames, found.info.duration_s) == (40, pytest.approx(40 / 30))
