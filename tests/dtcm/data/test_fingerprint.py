"""Fingerprints: the formula, what has none, which videos are copies and which only look alike."""

import io
from itertools import combinations

import av
import numpy as np
import pytest

from dtcm.data import fingerprint as module
from dtcm.data.decode import audit_looks, probe, read_frames
from dtcm.data.fingerprint import (
    SAMPLES,
    SIDE,
    WORDS,
    copies,
    fingerprint,
    fingerprint_indices,
    from_thumbnails,
    is_blind,
)
from dtcm.errors import BadInput


def by_formula(frames_THWC):
    """The 9 x 64 frequencies in float64, written out: luma, cells, windows, cosine transform."""
    luma = frames_THWC.astype(np.float64) @ [4899 / 2**14, 9617 / 2**14, 1868 / 2**14]
    # Every pixel 32 times along both axes, so that a cell is a whole number of pixels.
    fine = luma.repeat(32, axis=1).repeat(32, axis=2)
    cells = fine.reshape(len(luma), 32, luma.shape[1], 32, luma.shape[2]).mean(axis=(2, 4))
    windows = np.stack(np.split(cells, 8)).mean(axis=1)
    patterns = [windows.mean(axis=0), *(windows - windows.mean(axis=0))]
    place = (np.arange(32) + 0.5) * np.pi / 32
    order = sorted(((u, v) for u in range(32) for v in range(32)), key=lambda uv: (uv[0] + uv[1], uv[0]))[1:65]
    return np.array([[np.cos(u * place) @ pattern @ np.cos(v * place) for u, v in order] for pattern in patterns])


def scene(direction, seed=0, frames=24, level=10):
    """A dark wall with a pattern and a bright patch that moves left or right: uint8 [T, 60, 80, 3]."""
    rng = np.random.default_rng(seed)
    wall = rng.uniform(0, level, (15, 20)).repeat(4, axis=0).repeat(4, axis=1)
    clip = np.stack([wall] * frames)
    for t in range(frames):
        left = 30 + direction * (t * 28 // frames)
        clip[t, 20:50, left : left + 16] += 25
    return clip.round().astype(np.uint8)[..., None].repeat(3, axis=3)


def random_fingerprints(count, seed=0):
    """Fingerprints of which many are near each other, some with words that show nothing."""
    rng = np.random.default_rng(seed)
    base = rng.integers(1, 2**63, (4, WORDS), dtype=np.uint64)
    words = base[rng.integers(4, size=count)]
    for flips, columns in ((6, slice(0, 1)), (13, slice(1, None))):
        for _ in range(flips):
            at = rng.integers(64, size=words[:, columns].shape, dtype=np.uint64)
            words[:, columns] ^= rng.integers(2, size=at.shape, dtype=np.uint64) << at
    words[rng.random(words.shape) < 0.02] = 0
    return words


def by_brute_force(words):
    pairs = []
    for i, j in combinations(range(len(words)), 2):
        bits = [bin(int(a) ^ int(b)).count("1") if a and b else 64 for a, b in zip(words[i], words[j], strict=True)]
        if bits[0] <= 10 and sum(bits[1:]) <= 96:
            pairs.append((i, j))
    return pairs


@pytest.mark.parametrize("shape", [(24, 32, 40, 3), (8, 45, 50, 3), (16, 120, 160, 3), (16, 20, 33, 3)])
def test_bits_are_the_signs_of_the_formula(shape):
    frames = np.random.default_rng(1).integers(0, 200, shape, dtype=np.uint8)
    expected = by_formula(frames)
    bits = (fingerprint(frames)[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    clear = np.abs(expected) > 1e-2
    assert clear.mean() > 0.95
    assert np.array_equal(bits.astype(bool)[clear], (expected > 0)[clear])


def test_large_frames_look_as_small_ones():
    small = scene(1)
    large = small.repeat(9, axis=1).repeat(9, axis=2)
    assert len(copies(np.stack([fingerprint(small), fingerprint(large)]))) == 1


@pytest.mark.parametrize("gain", [0.6, 1.5, 3.0])
def test_brightness_and_noise_do_not_matter(gain):
    noise = np.random.default_rng(2).normal(0, 1, (24, 60, 80, 3))
    brighter = np.clip(scene(1) * gain + noise, 0, 255).astype(np.uint8)
    assert copies(np.stack([fingerprint(scene(1)), fingerprint(brighter)])).tolist() == [[0, 1]]


def test_one_scene_is_not_one_video():
    left, right = fingerprint(scene(-1, level=80)), fingerprint(scene(1, level=80))
    assert np.bitwise_count(left[0] ^ right[0]) <= module.BACKGROUND_BITS
    assert len(copies(np.stack([left, right]))) == 0


def test_one_motion_is_not_one_video():
    here, there = fingerprint(scene(1, seed=0, level=40)), fingerprint(scene(1, seed=5, level=40))
    assert len(copies(np.stack([here, there]))) == 0


@pytest.mark.parametrize("level", [0, 7, 255])
def test_a_flat_video_shows_nothing(level):
    words = fingerprint(np.full((24, 48, 64, 3), level, np.uint8))
    assert not words.any()
    assert is_blind(words.tolist())


def test_a_still_video_has_a_background_and_no_motion():
    words = fingerprint(scene(1)[:1].repeat(24, axis=0))
    assert words[0]
    assert not words[1:].any()
    assert is_blind(words.tolist())
    assert not is_blind(fingerprint(scene(1)).tolist())


def test_what_shows_nothing_has_no_copies():
    seen = fingerprint(scene(1))
    still, black = seen * (np.arange(WORDS) < 1), seen * 0
    assert copies(np.stack([seen, still, still, black, black, seen])).tolist() == [[0, 5]]


@pytest.mark.parametrize("at_once", [1, 500, 2**20])
def test_copies_are_those_of_a_plain_loop(monkeypatch, at_once):
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", at_once)
    words = random_fingerprints(150)
    expected = by_brute_force(words)
    assert 100 < len(expected) < 150 * 149 / 2 / 4
    assert sorted(map(tuple, copies(words).tolist())) == expected


def test_no_videos_have_no_copies():
    assert copies(np.empty((0, WORDS), np.uint64)).shape == (0, 2)


@pytest.mark.parametrize("total", [1, 5, 24, 25, 1000])
def test_sampled_frames_lie_within_the_video_and_in_the_middle_of_its_parts(total):
    indices = fingerprint_indices(total)
    assert len(indices) == SAMPLES
    assert indices == [int((i + 0.5) * total / 24) for i in range(24)]
    assert indices[-1] < total


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((24, 8, 8, 3), np.float32), ((24, 8, 8), np.uint8), ((23, 8, 8, 3), np.uint8), ((0, 8, 8, 3), np.uint8)],
)
def test_other_frames_are_refused(shape, dtype):
    with pytest.raises(BadInput, match="8 windows" if dtype == np.uint8 and len(shape) == 4 else "uint8"):
        fingerprint(np.zeros(shape, dtype))


def encode_again(frames_THWC, width, height, crf):
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": str(crf), "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames_THWC:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(width=width, height=height)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def fingerprint_of(source):
    """As the index takes it, from frames as they are decoded."""
    _, (thumbnails,) = audit_looks(source, [(fingerprint_indices, lambda shown: shown.cells(SIDE))])
    return from_thumbnails(np.array(thumbnails))


@pytest.mark.parametrize(
    ("codec", "pixels", "options"),
    [
        ("libx264", "yuv420p", {}),
        ("libx264", "yuvj420p", {}),  # full range
        ("libx264", "yuv420p10le", {}),
        ("mpeg2video", "yuv420p", {"flags": "+ildct+ilme"}),  # interlaced
        ("ffv1", "gray", {}),
        ("ffv1", "bgr0", {}),
    ],
)
def test_cells_are_averages_of_the_frame_whatever_its_format(codec, pixels, options):
    ramp = np.linspace(20, 200, 96)[:, None] * np.linspace(1, 0.5, 128)
    frame = np.round(ramp).astype(np.uint8)[..., None].repeat(3, axis=2)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream(codec, rate=25, options={"crf": "10", **options})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 128, 96, pixels, 4_000_000
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    _, ((cells,),) = audit_looks(buffer.getvalue(), [(lambda _: [0], lambda shown: shown.cells(SIDE))])
    assert np.abs(cells - ramp.reshape(32, 3, 32, 4).mean(axis=(1, 3))).max() < 2.2


def test_real_clips_encoded_again_are_found_and_others_are_not(reference):
    names = ["Jump_11_1", "Jump_11_2", "Run_11_1", "Run_11_2", "Sit_10_1", "Sit_10_2", "Walk_14_1", "Walk_14_10"]
    paths = [str(reference / "data/arid6/clips" / name.split("_")[0] / f"{name}.mp4") for name in names]
    again = []
    for n, path in enumerate(paths):
        frames = read_frames(path, range(3 * (n % 2), probe(path).frames))
        again.append(encode_again(frames, *((160, 120) if n % 3 else (224, 224)), crf=28))
    words = np.stack([fingerprint_of(source) for source in (*paths, *again)])
    assert copies(words).tolist() == [[n, n + 8] for n in range(8)]


def test_two_releases_of_one_clip_are_found(reference):
    names = ["Run/Run_1_1.mp4", "Turn/Turn_1_1.mp4"]
    releases = [str(reference / "data" / folder / name) for folder in ("arid6/clips", "arid11") for name in names]
    assert copies(np.stack([fingerprint_of(path) for path in releases])).tolist() == [[0, 2], [1, 3]]
