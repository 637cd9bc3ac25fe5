"""Files on which decoders disagree or fail, made here or real: docs/decoding.md says what is right for each."""

from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition

from dtcm.darkness import darkness, darkness_from_luma, mean_luma
from dtcm.data import container
from dtcm.data.decode import UnreadableVideo, audit_frames, decode_all, probe, read_frames, sample_frames

RED, GREEN, BLUE, WHITE = (200, 20, 20), (20, 180, 20), (20, 20, 200), (230, 230, 230)

# Frames by counting the packets that are to be shown; sizes by the bitstream, after rotation; the mean
# colour of the first frame as decord gives it, or where decord fails, as it follows from the planes.
REAL = [
    ("S001C001P001R001A001_rgb.avi", 103, (1920, 1080), "h264", 0, (127, 134, 126)),
    ("animated.gif", 4, (64, 48), "gif", 0, (80, 48, 48)),
    ("av1_video.mkv", 125, (640, 360), "av1", 0, (120, 129, 128)),
    ("big_buck_bunny_432_433.webm", 24, (1280, 720), "vp8", 0, (89, 82, 46)),
    ("bikes.mp4", 250, (640, 272), "h264", 0, (142, 133, 129)),
    ("bitmap.mp4", 5, (1, 1), "h264", 0, (254, 0, 0)),
    ("bt601_limited_range.mp4", 60, (320, 240), "h264", 0, (120, 124, 126)),
    ("bt709_full_range.mp4", 30, (1280, 720), "h264", 0, (123, 126, 123)),
    ("carphone_pristine.mp4", 120, (176, 144), "h264", 0, (95, 99, 93)),
    ("cockatoo.mp4", 280, (1280, 720), "h264", 0, (114, 113, 109)),
    ("demo.mp4", 280, (340, 256), "h264", 0, (100, 88, 76)),
    ("discard_first_keyframe.mp4", 25, (64, 64), "h264", 0, (90, 73, 75)),
    ("flipping_a_pancake.mkv", 310, (426, 240), "h264", 0, (119, 89, 81)),
    ("h264_10bits.mp4", 30, (200, 200), "h264", 0, (115, 117, 125)),
    ("h265_video.mp4", 10, (128, 128), "hevc", 0, (12, 12, 252)),
    ("nasa_13013.mp4", 390, (480, 270), "h264", 0, (9, 8, 14)),
    ("nasa_13013_rotated.mp4", 17, (270, 480), "h264", 90, (9, 8, 14)),
    ("newtonscradle.gif", 36, (200, 150), "gif", 0, (194, 194, 194)),
    ("no_duration.webm", 74, (1280, 720), "vp9", 0, (1, 5, 3)),
    ("v_ApplyEyeMakeup_g01_c01.avi", 164, (320, 240), "mpeg4", 0, (94, 80, 87)),
    ("video_0.mov", 3, (568, 320), "h264", 0, (110, 99, 90)),
    ("video_180.mov", 3, (568, 320), "h264", 180, (123, 110, 100)),
    ("video_270.mov", 3, (320, 568), "h264", 90, (134, 120, 110)),
    ("video_with_failing_audio.mp4", 280, (640, 360), "h264", 0, (180, 191, 198)),
]
OTHERWISE_IN_DECORD = {"bitmap.mp4", "discard_first_keyframe.mp4", "h264_10bits.mp4", "no_duration.webm"}
LARGE = {"S001C001P001R001A001_rgb.avi", "cockatoo.mp4"}


def decoded(path, wanted):
    """Every frame's size and luma, and some frames, from decoding everything."""
    shapes, luma, kept, count = set(), [], {}, 0
    for chunk in decode_all(path):
        shapes.add(chunk.shape[1:])
        luma.append(mean_luma(chunk))
        kept |= {i: chunk[i - count].copy() for i in wanted if count <= i < count + len(chunk)}
        count += len(chunk)
    return shapes, np.concatenate(luma), np.stack([kept[i] for i in wanted])


@pytest.mark.parametrize(
    ("name", "frames", "size", "codec", "rotation_deg", "colour"),
    [pytest.param(*row, marks=pytest.mark.slow if row[0] in LARGE else (), id=row[0]) for row in REAL],
)
def test_real_files_of_many_codecs(reference, name, frames, size, codec, rotation_deg, colour):
    path, wanted = reference / "data" / "codecs" / name, [0, *np.random.default_rng(0).integers(0, frames, 7).tolist()]
    shapes, luma_T, kept = decoded(path, wanted)
    assert shapes == {(*size[::-1], 3)}
    assert len(luma_T) == frames
    assert np.abs(kept[0].mean((0, 1)) - colour).max() <= 0.6
    info = probe(path)
    assert (info.width_px, info.height_px, info.frames) == (*size, frames)
    assert (info.codec, info.rotation_deg) == (codec, rotation_deg)
    audited = audit_frames(path, lambda total: wanted)
    assert audited.info == info
    for same in (audited.sampled, sample_frames(path, lambda total: wanted), read_frames(path, wanted)):
        assert np.array_equal(same, kept)
    assert darkness(path, seed=3) == darkness_from_luma(luma_T, seed=3)


@pytest.mark.parametrize("name", [row[0] for row in REAL if row[0] not in OTHERWISE_IN_DECORD | LARGE])
def test_frames_are_decords_where_decord_is_right(reference, name):
    decord = pytest.importorskip("decord")
    path = reference / "data" / "codecs" / name
    reader = decord.VideoReader(str(path), num_threads=1)
    assert len(reader) == probe(path).frames
    count = min(len(reader), 20)
    assert np.array_equal(read_frames(path, range(count)), [reader.next().asnumpy() for _ in range(count)])


def test_an_edit_list_leaves_frames_out(reference):
    # Five of 30 frames lie before the edit begins. A decoder that knows no edit lists gives all 30.
    path = reference / "data" / "codecs" / "discard_first_keyframe.mp4"
    with av.open(str(path), options={"ignore_editlist": "1"}) as file:
        unedited = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(unedited) == 30
    assert np.array_equal(read_frames(path, range(25)), unedited[5:])


def test_a_damaged_file_fails_and_is_not_filled_up(reference):
    path = reference / "data" / "codecs" / "corrupted.mp4"
    for read in (lambda: list(decode_all(path)), lambda: audit_frames(path, range), lambda: read_frames(path, [40])):
        with pytest.raises(UnreadableVideo, match="the decoder fails after frame 28") as caught:
            read()
        assert caught.value.kind == "decoder-failed"
    assert read_frames(path, [27]).shape == (1, 720, 1280, 3)


@pytest.mark.parametrize("folder", ["arid6/clips", "arid11", "bright"])
def test_seeking_finds_the_frames_of_real_clips(reference, folder):
    for path in sorted((reference / "data" / folder).rglob("*.mp4"))[::12]:
        luma_T = np.concatenate([mean_luma(frames_THWC) for frames_THWC in decode_all(path)])
        for rule in ("paper", "released"):
            assert darkness(path, 1, rule) == darkness_from_luma(luma_T, 1, rule)


def write(path, pictures, codec="libx264", pix_fmt="yuv420p", rate=25, muxing=None, **options):
    """Flat or given pictures, uint8 [H, W, 3] each, as a video."""
    with av.open(str(path), "w", options=muxing or {}) as file:
        stream = file.add_stream(codec, rate=rate, options={"threads": "1", **options})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)))
        file.mux(stream.encode())
    return path


def flat(colour, count=1, height=48, width=64):
    return [np.broadcast_to(np.array(colour, np.uint8), (height, width, 3)).copy()] * count


def quarters(height=48, width=64):
    """Red, green, blue and white, from the upper left in the order of reading."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2], picture[: height // 2, width // 2 :] = RED, GREEN
    picture[height // 2 :, : width // 2], picture[height // 2 :, width // 2 :] = BLUE, WHITE
    return picture


def corners(frame_HWC):
    """The colours of the four corners, in the order of reading, as the nearest of the four."""
    y, x = frame_HWC.shape[0] // 6, frame_HWC.shape[1] // 6
    found = [frame_HWC[row, column].astype(int) for row in (y, -y) for column in (x, -x)]
    colours = [RED, GREEN, BLUE, WHITE]
    return [colours[np.argmin([np.abs(pixel - colour).sum() for colour in colours])] for pixel in found]


@pytest.mark.parametrize(
    ("turn", "expected"),
    [(90, [GREEN, WHITE, RED, BLUE]), (180, [WHITE, BLUE, GREEN, RED]), (270, [BLUE, RED, WHITE, GREEN])],
)
def test_a_rotated_video_stands_upright(tmp_path, turn, expected):
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(turn)
        for _ in range(3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(quarters(), format="rgb24")))
        file.mux(stream.encode())
    info, shape = probe(path), (64, 48) if turn == 180 else (48, 64)
    assert (info.width_px, info.height_px, info.rotation_deg) == (*shape, turn)
    for frames_THWC in (next(decode_all(path)), read_frames(path, [2]), sample_frames(path, lambda total: [2])):
        assert corners(frames_THWC[-1]) == expected


@pytest.mark.parametrize("larger_first", [False, True])
def test_of_two_streams_the_larger_pictures_are_taken(tmp_path, larger_first):
    path = tmp_path / "two.mp4"
    sizes = [(64, 48, RED), (96, 64, BLUE)][:: -1 if larger_first else 1]
    with av.open(str(path), "w") as file:
        streams = []
        for width, height, colour in sizes:
            stream = file.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            streams.append((stream, av.VideoFrame.from_ndarray(flat(colour, 1, height, width)[0], format="rgb24")))
        for i in range(10):
            for stream, frame in streams[: 2 if i < 6 else 1]:
                frame.pts = None
                file.mux(stream.encode(frame))
        for stream, _ in streams:
            file.mux(stream.encode())
    info = probe(path)
    assert (info.width_px, info.height_px, info.frames) == (96, 64, 10 if larger_first else 6)
    assert corners(read_frames(path, [5])[0]) == [BLUE] * 4


def test_ten_bits_give_the_colours_of_the_planes(tmp_path):
    # Each colour sample covers 2x2 pixels. BT.601, limited range: Y in 16-235, Cb and Cr in 16-240, times 4.
    path, rng = tmp_path / "ten.mkv", np.random.default_rng(0)
    y, u, v = rng.integers(256, 720, (32, 48)), rng.integers(360, 664, (16, 24)), rng.integers(360, 664, (16, 24))
    frame = av.VideoFrame(48, 32, "yuv420p10le")
    for plane, values in zip(frame.planes, (y, u, v), strict=True):
        rows = np.zeros((plane.height, plane.line_size // 2), np.uint16)
        rows[:, : plane.width] = values
        plane.update(rows.tobytes())
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p10le"
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    expected = np.zeros((32, 48, 3))
    for row in range(32):
        for column in range(48):
            luma = (y[row, column] / 4 - 16) / 219
            blue, red = (u[row // 2, column // 2] / 4 - 128) / 224, (v[row // 2, column // 2] / 4 - 128) / 224
            r, b = luma + 1.402 * red, luma + 1.772 * blue
            expected[row, column] = r, (luma - 0.299 * r - 0.114 * b) / 0.587, b
    difference = np.abs(read_frames(path, [0])[0] - (255 * expected).clip(0, 255))
    assert difference.max() <= 4
    assert difference.mean() < 1.5


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "height", "width"),
    [
        ("tiny.mp4", "libx264", "yuv420p", 16, 16),
        ("two.avi", "mpeg4", "yuv420p", 2, 2),
        ("odd.mp4", "libx264", "yuv444p", 33, 47),
        ("odd.avi", "mpeg4", "yuv420p", 31, 37),
        ("one.mkv", "ffv1", "yuv420p", 1, 1),
        ("thin.webm", "libvpx-vp9", "yuv420p", 64, 2),
        ("motion.avi", "mjpeg", "yuvj420p", 20, 24),
    ],
)
def test_small_and_odd_sizes(tmp_path, name, codec, pix_fmt, height, width):
    path = write(tmp_path / name, flat(RED, 5, height, width), codec, pix_fmt)
    every = np.concatenate(list(decode_all(path)))
    assert every.shape == (5, height, width, 3)
    assert np.abs(every.mean((0, 1, 2)) - RED).max() < 8
    assert np.array_equal(sample_frames(path, lambda total: [4, 0]), every[[4, 0]])


@pytest.mark.parametrize("name", ["one.mp4", "one.avi", "one.mkv", "one.gif"])
def test_a_single_frame_is_a_video(tmp_path, name):
    gif = name.endswith("gif")
    path = write(tmp_path / name, flat(WHITE), *(("gif", "rgb8") if gif else ()))
    assert probe(path).frames == 1
    assert read_frames(path, [0, 0]).shape == (2, 48, 64, 3)
    assert darkness(path).mean_luma == pytest.approx(230, abs=25 if gif else 3)


def noise(count=60):
    return list(np.random.default_rng(0).integers(0, 256, (count, 48, 64, 3), dtype=np.uint8))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("name", ["x.mp4", "x.avi", "x.mkv", "faststart.mp4", "x.mov", "x.flv"])
def test_a_cut_off_file_is_truncated(tmp_path, name, share):
    muxing = {"movflags": "faststart"} if name == "faststart.mp4" else {}
    whole = write(tmp_path / name, noise(), muxing=muxing)
    every = np.concatenate(list(decode_all(whole)))
    content = whole.read_bytes()
    content = content[: int(share * len(content))]
    read = []
    for attempt in (lambda: read.extend(decode_all(content)), lambda: probe(content)):
        with pytest.raises(UnreadableVideo, match=r"truncated after frame \d+") as caught:
            attempt()
        assert caught.value.kind == "truncated"
        count = int(caught.value.reason.split("frame ")[1].split(":")[0])
        assert count == 0 if name in ("x.mp4", "x.mov") else count <= 60 * share + 3
    got = np.concatenate([*read, every[:0]])
    assert len(got) <= count
    assert np.array_equal(got, every[: len(got)]), "what came before the end is right"


@pytest.mark.parametrize(("more", "readable"), [(0, True), (2, True), (4, False)])
def test_a_header_may_promise_two_frames_too_many(tmp_path, more, readable):
    content = bytearray(write(tmp_path / "x.avi", noise(20), "mpeg4").read_bytes())
    length = content.index(b"strh") + 8 + 32
    assert int.from_bytes(content[length : length + 4], "little") == 20
    content[length : length + 4] = (20 + more).to_bytes(4, "little")
    if readable:
        assert audit_frames(bytes(content), lambda total: [0]).info.frames == 20
        assert probe(bytes(content)).announced_frames == 20 + more
    else:
        with pytest.raises(UnreadableVideo, match="truncated after frame 20"):
            probe(bytes(content))


def test_a_stream_that_tells_no_length_is_as_long_as_it_is(tmp_path):
    content = write(tmp_path / "x.gif", noise(20), "gif", "rgb8").read_bytes()
    assert probe(content).announced_frames is None
    assert 5 <= sum(map(len, decode_all(content[: len(content) // 2]))) <= 10


@pytest.mark.parametrize("name", ["none.mp4", "none.mkv", "none.avi"])
def test_a_video_track_without_a_frame_is_none(tmp_path, name):
    path = tmp_path / name
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        stream.codec_context.open()
        file.start_encoding()
    for read in (probe, lambda source: list(decode_all(source)), lambda source: sample_frames(source, range)):
        with pytest.raises(UnreadableVideo) as caught:
            read(path)
        assert caught.value.kind in ("no-video-stream", "not-a-video", "truncated")


def test_frames_that_change_their_size_are_refused(tmp_path):
    small = write(tmp_path / "a.h264", flat(RED, 5)).read_bytes()
    large = write(tmp_path / "b.h264", flat(RED, 5, 64, 96)).read_bytes()
    with pytest.raises(UnreadableVideo, match="after frame 5: the size of the frames changes"):
        list(decode_all(small + large))


def test_frames_of_no_size_are_refused(tmp_path):
    path = tmp_path / "flat.avi"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in flat(RED, 3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    content = bytearray(path.read_bytes())
    width = content.index(b"strf") + 12  # behind the chunk's name and size, and the size of the BITMAPINFOHEADER
    assert int.from_bytes(content[width : width + 4], "little") == 64
    content[width : width + 4] = bytes(4)
    for read in (probe, lambda source: list(decode_all(source)), lambda source: audit_frames(source, range)):
        with pytest.raises(UnreadableVideo, match="zero-sized frames") as caught:
            read(bytes(content))
        assert caught.value.kind == "zero-sized"


def test_frames_too_large_for_the_memory_are_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "large.mp4", flat(RED, 3))
    monkeypatch.setattr(container, "MOST_PX", 48 * 64 - 1)
    with pytest.raises(UnreadableVideo, match="the decoder fails after frame 0"):
        list(decode_all(path))


def test_the_picture_of_a_cover_is_no_video(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as file:
        sound = file.add_stream("aac", rate=8000)
        picture = file.add_stream("mjpeg", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuvj420p"
        picture.disposition = Disposition.attached_pic
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        samples.rate = 8000
        file.mux(sound.encode(samples))
        file.mux(picture.encode(av.VideoFrame.from_ndarray(quarters(), format="rgb24").reformat(format="yuvj420p")))
    with pytest.raises(UnreadableVideo, match="no video stream"):
        probe(path)
