import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, one_hot

from dtcm.data import sample
from dtcm.data.sample import ACTIONS, make_sample, render_clip, write_clip
from dtcm.data.sample_actor import bones, draw_body
from dtcm.data.sample_motion import MOTIONS, Style
from dtcm.data.sample_scene import exposure_for, sense
from dtcm.errors import BadInput

ARID_ACTIONS = ["Drink", "Jump", "Pick", "Pour", "Push", "Run", "Sit", "Stand", "Turn", "Walk", "Wave"]
CLIPS_PER_CLASS = 8


@dataclasses.dataclass(frozen=True)
class Decoded:
    action: int
    group: int
    codec: str
    pixels: str
    fps: float
    luma: np.ndarray  # [T, H, W]


@pytest.fixture(scope="module")
def sample_set(tmp_path_factory):
    return make_sample(tmp_path_factory.mktemp("sample") / "set", clips_per_class=CLIPS_PER_CLASS, processes=2)


@pytest.fixture(scope="module")
def decoded(sample_set):
    """Luma of every clip of the set, read from its file."""
    clips = []
    for path in sorted(sample_set.glob("clips/*/*.mp4")):
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            luma = np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video)])
            context = video.codec_context
            name, group, _ = path.stem.split("_")
            fps = float(video.average_rate)
            clips.append(Decoded(ACTIONS.index(name), int(group), context.name, context.pix_fmt, fps, luma))
    return clips


@pytest.fixture
def instant_frames(monkeypatch):
    """Rendering replaced by two black frames, where a test is about the files."""
    monkeypatch.setattr(sample, "render_clip", lambda *_: np.zeros((2, 240, 320, 3), np.uint8))


def read_list(root, name):
    rows = [line.split("\t") for line in (root / "lists" / name).read_text().splitlines()]
    return [(int(number), int(label), path) for number, label, path in rows]


def group_of(path):
    return int(path.split("_")[-2])


def performance(action, frames=90, heading_deg=0.0):
    """Capsule ends [T, bones, 2, 3] of an average performance of three seconds."""
    style = Style(np.linspace(-1.5, 1.5, frames), np.linspace(0, 1, frames), 1.0, 1.0, 120.0)
    body = draw_body(np.random.default_rng(0), pale=True)
    return body, bones(body, MOTIONS[action](style), heading_deg, True, np.full(frames, True)).ends_m


# The files.


def test_actions_are_arids_in_arids_order():
    assert list(ACTIONS) == ARID_ACTIONS


def test_clips_are_files_like_arids(decoded):
    assert len(decoded) == 11 * CLIPS_PER_CLASS
    assert {(clip.codec, clip.pixels, clip.fps) for clip in decoded} == {("h264", "yuv420p", 30.0)}
    assert {clip.luma.shape[1:] for clip in decoded} == {(240, 320)}
    lengths = [len(clip.luma) for clip in decoded]
    assert min(lengths) >= 33
    assert max(lengths) <= 105
    assert len(set(lengths)) > 20


def test_clips_are_as_dark_as_arids(decoded):
    # ARID's clips: 5.6 to 50.4, 16.2 at the median. PyAV's gray is luma in full range.
    luma = np.array([clip.luma.mean() for clip in decoded])
    assert luma.min() > 5.6
    assert luma.max() < 50.4
    assert 12 < np.median(luma) < 21


def test_bitrate_is_like_arids(sample_set, decoded):
    # ARID v1.0's files take about 0.9 to 9 kB a frame, 2.1 at the median.
    size = sum(path.stat().st_size for path in sample_set.glob("clips/*/*.mp4"))
    assert 1000 < size / sum(len(clip.luma) for clip in decoded) < 5000


@pytest.mark.parametrize("split", [1, 2, 3])
def test_lists_part_the_clips_by_groups(sample_set, split):
    parts = {part: read_list(sample_set, f"ARID_split{split}_{part}.txt") for part in ("train", "test")}
    for rows in parts.values():
        assert [number for number, _, _ in rows] == list(range(len(rows)))
        assert all(path.startswith(f"{ACTIONS[label]}/{ACTIONS[label]}_") for _, label, path in rows)
        assert {label for _, label, _ in rows} == set(range(11))
    listed = [path for rows in parts.values() for _, _, path in rows]
    on_disk = [str(path.relative_to(sample_set / "clips")) for path in sample_set.glob("clips/*/*.mp4")]
    assert sorted(listed) == sorted(on_disk)
    train, test = ({group_of(path) for _, _, path in parts[part]} for part in ("train", "test"))
    assert not train & test
    assert len(parts["test"]) / len(listed) == pytest.approx(0.25, abs=0.1)


def test_splits_test_on_different_groups(sample_set):
    tested = [{group_of(row[2]) for row in read_list(sample_set, f"ARID_split{split}_test.txt")} for split in (1, 2, 3)]
    assert sum(len(groups) for groups in tested) == len(set.union(*tested))


def test_mapping_table_names_the_classes(sample_set):
    expected = "".join(f"{i}\t{name}\n" for i, name in enumerate(ARID_ACTIONS))
    assert (sample_set / "lists" / "ARID_mapping_table.txt").read_text() == expected


# Made once, whole or not at all.


def test_set_is_written_once_then_found(sample_set):
    before = {path: path.stat().st_mtime_ns for path in sample_set.rglob("*")}
    assert make_sample(sample_set, clips_per_class=CLIPS_PER_CLASS) == sample_set
    assert {path: path.stat().st_mtime_ns for path in sample_set.rglob("*")} == before


def test_default_folder_is_in_the_cache_and_named_by_content(tmp_path, monkeypatch, instant_frames):
    monkeypatch.setenv("DTCM_CACHE", str(tmp_path / "cache"))
    first, again, other = (make_sample(clips_per_class=4, seed=seed, processes=1) for seed in (0, 0, 1))
    assert first.parent == tmp_path / "cache"
    assert first == again != other
    assert sorted(path.name for path in first.parent.iterdir()) == sorted([first.name, other.name])


def test_interrupted_set_is_redone(tmp_path, instant_frames):
    made = make_sample(tmp_path / "set", clips_per_class=4, processes=1)
    (made / "sample.json").unlink()
    (made / "clips/Wave/Wave_4_1.mp4").unlink()
    (made / "clips/Wave/Wave_3_1.mp4").write_bytes(b"half")
    assert make_sample(made, clips_per_class=4, processes=1) == made
    assert len(list(made.glob("clips/*/*.mp4"))) == 44
    assert (made / "clips/Wave/Wave_3_1.mp4").stat().st_size > 4
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_failed_generation_leaves_nothing(tmp_path, monkeypatch):
    def fail(action, *_):
        raise MemoryError(action)

    monkeypatch.setattr(sample, "render_clip", fail)
    with pytest.raises(MemoryError):
        make_sample(tmp_path / "set", clips_per_class=4, processes=1)
    assert list(tmp_path.iterdir()) == []


def test_processes_that_ask_at_once_get_one_whole_set(tmp_path, monkeypatch):
    both_are_at_it = threading.Barrier(2, timeout=60)
    waited = threading.local()

    def render(*_):
        if not hasattr(waited, "done"):
            waited.done = True
            both_are_at_it.wait()
        return np.zeros((2, 240, 320, 3), np.uint8)

    monkeypatch.setattr(sample, "render_clip", render)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(make_sample, tmp_path / "set", clips_per_class=4, processes=1) for _ in range(2)]
        assert [future.result() for future in asked] == [tmp_path / "set"] * 2
    assert len(list((tmp_path / "set").glob("clips/*/*.mp4"))) == 44
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_folder_with_other_things_is_left_alone(tmp_path, instant_frames):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BadInput, match="not empty"):
        make_sample(tmp_path, clips_per_class=4, processes=1)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_set_of_other_parameters_is_not_taken_for_the_asked_one(tmp_path, instant_frames):
    make_sample(tmp_path / "set", clips_per_class=4, processes=1)
    with pytest.raises(BadInput, match="other parameters"):
        make_sample(tmp_path / "set", clips_per_class=5, processes=1)
    assert json.loads((tmp_path / "set/sample.json").read_text())["clips_per_class"] == 4


def test_too_few_clips_for_three_splits_are_refused(tmp_path):
    with pytest.raises(BadInput, match="at least 4"):
        make_sample(tmp_path / "set", clips_per_class=3)


# Randomness.


def test_same_seed_gives_the_same_frames_and_file_in_another_process(tmp_path):
    script = (
        "import hashlib, pathlib, sys; from dtcm.data.sample import render_clip, write_clip\n"
        "path = pathlib.Path(sys.argv[1]); frames = render_clip('Run', 3, 2, 7); write_clip(path, frames)\n"
        "print(hashlib.sha256(frames.tobytes()).hexdigest(), hashlib.sha256(path.read_bytes()).hexdigest())"
    )
    hashes = [
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / f"{salt}.mp4")],
            env=os.environ | {"PYTHONHASHSEED": salt}, capture_output=True, text=True, check=True,
        ).stdout
        for salt in ("1", "2")
    ]  # fmt: skip
    frames = render_clip("Run", 3, 2, 7)
    write_clip(tmp_path / "here.mp4", frames)
    here = [hashlib.sha256(data).hexdigest() for data in (frames.tobytes(), (tmp_path / "here.mp4").read_bytes())]
    assert hashes[0].split() == hashes[1].split() == here


@pytest.mark.parametrize("other", [("Jump", 3, 1, 1), ("Jump", 4, 1, 0), ("Jump", 3, 2, 0), ("Run", 3, 1, 0)])
def test_seed_group_index_and_action_each_change_the_frames(other):
    a, b = render_clip("Jump", 3, 1, 0), render_clip(*other)
    assert len(a) != len(b) or (a != b).mean() > 0.2


def test_bright_version_is_the_same_clip_lit_and_free_of_noise():
    dark, bright = (render_clip("Jump", 2, 1, bright=lit) for lit in (False, True))
    assert dark.shape == bright.shape
    assert bright.mean() > 3 * dark.mean()
    # Most pixels show the room, which stands still and without noise does not change at all.
    assert np.median(np.ptp(bright.astype(int), axis=0)) == 0
    assert np.median(np.ptp(dark.astype(int), axis=0)) > 0
    # Where the light is enough to tell, both show the same picture.
    a, b = (
        avg_pool2d(torch.from_numpy(clip[10]).float().mean(-1)[None], 8).flatten().numpy() for clip in (dark, bright)
    )
    assert np.corrcoef(a, b)[0, 1] > 0.9


# Sensor and body.


@pytest.mark.parametrize("level", [0.01, 0.05, 0.2])
def test_noise_is_that_of_photons_and_readout(level):
    noise = np.random.default_rng(0).standard_normal((240, 320, 3), dtype=np.float32)
    coded = sense(np.full_like(noise, level), noise, photons=2000.0, read_noise=1e-3)
    linear = (coded / 255.0) ** 2
    # Variance of shot noise (signal / photons), readout, and rounding (1/12 code, slope of the square).
    rounding = (2 * np.sqrt(level) / 255) ** 2 / 12
    assert linear.mean() == pytest.approx(level, rel=0.02)
    assert linear.std() == pytest.approx(np.sqrt(level / 2000 + 1e-6 + rounding), rel=0.03)


def test_exposure_reaches_the_luma_that_is_asked_for():
    scene = np.random.default_rng(0).uniform(0.05, 0.5, (240, 320, 3)).astype(np.float32)
    coded = 255 * np.sqrt(scene * exposure_for(16.0, scene))
    assert (coded @ [0.299, 0.587, 0.114]).mean() == pytest.approx(16.0, rel=0.01)


@pytest.mark.parametrize("action", ARID_ACTIONS)
def test_limbs_keep_their_length_and_stay_above_the_floor(action):
    body, ends = performance(action)
    lengths = np.linalg.norm(ends[:, :, 1] - ends[:, :, 0], axis=-1)
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), atol=1e-9)
    assert ends[..., 1].min() > 0
    assert ends[..., 1].max() < 1.4 * body.height_m + 0.4


def test_sit_and_stand_are_the_same_motion_reversed():
    np.testing.assert_allclose(performance("Sit")[1], performance("Stand")[1][::-1], atol=1e-9)


@pytest.mark.parametrize(("action", "height_m"), [("Jump", 0.32), ("Sit", 0.0), ("Wave", 0.0), ("Walk", 0.0)])
def test_only_a_jump_leaves_the_floor(action, height_m):
    body, ends = performance(action)
    soles = ends[..., 1].min((1, 2)) - 0.025 * body.height_m
    assert np.abs(soles).max() == pytest.approx(height_m, abs=0.02)


@pytest.mark.parametrize(("action", "meters"), [("Run", 1.9 * 3), ("Walk", 1.0 * 3), ("Drink", 0.0)])
def test_runners_and_walkers_travel_towards_where_they_face(action, meters):
    for heading_deg, axis in ((0.0, 2), (90.0, 0)):
        head = performance(action, heading_deg=heading_deg)[1][:, 0, 0]
        travelled = head[-1] - head[0]
        assert travelled[axis] == pytest.approx(meters, abs=0.05)
        assert np.delete(travelled, axis) == pytest.approx([0, 0], abs=0.1)


# Learning.


def motion_energy(luma_THW, order):
    """Absolute differences of 16 frames, 3 apart, from the clip's middle, in `order`, pooled to 7x10 regions."""
    start = max((len(luma_THW) - 46) // 2, 0)
    picked = luma_THW[(start + 3 * np.arange(16)[order]) % len(luma_THW)]
    frames = avg_pool2d(torch.from_numpy(picked).float()[:, None], 8)
    change = torch.diff(frames / frames.mean(), dim=0).abs()
    return avg_pool2d(change, 4).sqrt().flatten()


def fit_ridge(features, labels, ridge=0.1):
    """Ridge regression onto one-hot labels of standardised features; returns features -> scores."""
    mean, scale = features.mean(0), (features.std(0) + 1e-3) * features.shape[1] ** 0.5
    x = (features - mean) / scale
    weights = x.T @ torch.linalg.solve(x @ x.T + ridge * torch.eye(len(x)), one_hot(labels, 11).float() - 1 / 11)
    return lambda features: (features - mean) / scale @ weights


def test_actions_are_learnt_on_other_groups_and_only_in_the_order_of_time(decoded):
    rng = np.random.default_rng(0)
    ordered = torch.stack([motion_energy(clip.luma, np.arange(16)) for clip in decoded])
    shuffled = torch.stack([motion_energy(clip.luma, rng.permutation(16)) for clip in decoded])
    labels = torch.tensor([clip.action for clip in decoded])
    groups = np.array([clip.group for clip in decoded])
    right = {"ordered": 0, "shuffled": 0}
    for held_out in range(4):
        test = torch.from_numpy(groups % 4 == held_out)
        score = fit_ridge(ordered[~test], labels[~test])
        for name, features in (("ordered", ordered), ("shuffled", shuffled)):
            right[name] += int((score(features[test]).argmax(1) == labels[test]).sum())
    accuracy = {name: round(count / len(decoded), 3) for name, count in right.items()}
    assert accuracy["ordered"] > 0.5, accuracy
    assert accuracy["shuffled"] < accuracy["ordered"] - 0.15, accuracy
