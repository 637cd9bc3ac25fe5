"""Clips from decoded videos on disk: the same as without, within the limit, never from a damaged file."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dtcm.config import DataConfig
from dtcm.data import clip_cache
from dtcm.data.clip_cache import ClipCache, cached_video
from dtcm.data.decode import decode_all
from dtcm.data.plan import Plan
from dtcm.data.transforms import load_clip

SIZE = DataConfig(frames=6, width_px=40, height_px=30, crop_px=24, flip=True)
CENTRE = DataConfig(frames=6, centre_px=40, width_px=32, height_px=32, crop_px=24, flip=True)


@pytest.fixture(scope="module")
def videos(tiny_root):
    """Path, hash and number of frames of three videos."""
    paths = [str(path) for path in sorted(tiny_root.rglob("*.mp4"))[:3]]
    return [(path, hashlib.sha256(Path(path).read_bytes()).hexdigest(), frames_of(path)) for path in paths]


def frames_of(path):
    return sum(len(chunk) for chunk in decode_all(path))


def cache_of(folder, limit_bytes=2**30, since_s=0.0):
    return ClipCache(str(folder), limit_bytes, since_s)


def kept(cache, video, data=SIZE):
    whole = cached_video(cache, *video, data)
    assert whole is not None
    return whole


def file_bytes(video, data=SIZE):
    return 128 + video[2] * data.height_px * data.width_px * 3 + 4


@pytest.mark.parametrize("data", [SIZE, CENTRE], ids=["whole frames", "centre"])
def test_clips_are_bit_for_bit_those_without(videos, tmp_path, data):
    plan = Plan(tuple(frames for *_, frames in videos), data, batch=3, epochs=4, seed=0)
    rows = [row for step in range(plan.steps) for row in plan.rows(step)]
    for row in rows:
        path, sha256, frames = videos[row.video]
        whole = kept(cache_of(tmp_path), (path, sha256, frames), data)
        assert np.array_equal(load_clip(path, row, data, whole), load_clip(path, row, data))
    assert {row.flip for row in rows} == {True, False}
    assert len(list(tmp_path.glob("*.npy"))) == 3


def test_a_video_is_decoded_once(videos, tmp_path):
    copy = tmp_path / "video.mp4"
    shutil.copy(videos[0][0], copy)
    first = kept(cache_of(tmp_path / "cache"), (str(copy), *videos[0][1:]))
    copy.unlink()
    again = kept(cache_of(tmp_path / "cache"), (str(copy), *videos[0][1:]))
    assert np.array_equal(first, again)


@pytest.mark.parametrize("damage", ["byte", "end", "empty"])
def test_a_damaged_file_is_not_used(videos, tmp_path, damage):
    cache, video = cache_of(tmp_path), videos[0]
    right = np.array(kept(cache, video))
    file = next(tmp_path.glob("*.npy"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes({"byte": bytes(content), "end": bytes(content[:-100]), "empty": b""}[damage])
    clip_cache._checked.cache_clear()  # as in another process
    assert np.array_equal(kept(cache, video), right)


def test_what_earlier_trainings_left_makes_room_the_oldest_first(videos, tmp_path):
    limit = sum(file_bytes(video) for video in videos) - 1  # one too few for the three
    for video, used_s in zip(videos[:2], (2000, 1000), strict=True):
        kept(cache_of(tmp_path, limit), video)
        newest = max(tmp_path.glob("*.npy"), key=lambda file: file.stat().st_mtime_ns)
        os.utime(newest, (used_s, used_s))
    older, oldest = sorted(tmp_path.glob("*.npy"), key=lambda file: -file.stat().st_atime)
    assert cached_video(cache_of(tmp_path, limit, since_s=3000), *videos[2], SIZE) is not None
    assert older.exists()
    assert not oldest.exists()


def test_what_this_training_uses_stays_and_the_rest_is_decoded_as_without(videos, tmp_path):
    cache = cache_of(tmp_path, file_bytes(videos[0]) + file_bytes(videos[1]), since_s=1.0)
    found = [cached_video(cache, *video, SIZE) for video in videos]
    assert [whole is None for whole in found] == [False, False, True]
    assert [cached_video(cache, *video, SIZE) is None for video in videos] == [False, False, True]


def test_a_training_that_found_no_room_does_not_look_again_and_the_next_one_does(videos, tmp_path):
    limit = file_bytes(videos[0]) + file_bytes(videos[1])
    for video in videos:
        cached_video(cache_of(tmp_path, limit, since_s=1.0), *video, SIZE)
    for file in tmp_path.glob("*.npy"):
        file.unlink()
    assert cached_video(cache_of(tmp_path, limit, since_s=1.0), *videos[2], SIZE) is None
    assert cached_video(cache_of(tmp_path, limit, since_s=2.0), *videos[2], SIZE) is not None


def test_another_content_under_the_same_name_is_another_video(videos, tmp_path):
    cache, path = cache_of(tmp_path), str(tmp_path / "video.mp4")
    for source, sha256, frames in videos[:2]:
        shutil.copy(source, path)
        whole = kept(cache, (path, sha256, frames))
        assert np.array_equal(whole, kept(cache_of(tmp_path / "other"), (source, sha256, frames)))


def test_a_video_that_is_not_what_was_said_is_not_kept(videos, tmp_path):
    path, sha256, frames = videos[0]
    assert cached_video(cache_of(tmp_path), path, sha256, frames + 1, SIZE) is None
    assert {file.name for file in tmp_path.iterdir()} == {"lock"}


def test_without_a_disk_to_write_to_nothing_is_kept_and_nothing_fails(videos, tmp_path):
    (tmp_path / "file").write_text("no folder")
    assert cached_video(cache_of(tmp_path / "file"), *videos[0], SIZE) is None


BESIDE_OTHERS = """
import sys
import numpy as np
from pathlib import Path
from dtcm.config import DataConfig
from dtcm.data import clip_cache
folder, limit, path, sha256, frames = sys.argv[1:]
expected = np.concatenate(list(clip_cache.decode_all(path)))
for height in (48, 49, 48, 50, 48, 51):
    data = DataConfig(frames=6, width_px=64, height_px=height, crop_px=24)
    whole = clip_cache.cached_video(clip_cache.ClipCache(folder, int(limit), 0.0), path, sha256, int(frames), data)
    assert sum(size for _, size, _ in clip_cache._files(Path(folder))) <= int(limit)
    assert whole is None or height > 48 or np.array_equal(whole, expected)
print("kept" if whole is not None else "decoded")
"""


def test_many_processes_keep_within_the_limit_and_see_whole_files(videos, tmp_path):
    limit = 4 * max(video[2] for video in videos) * 64 * 51 * 3
    command = [sys.executable, "-c", BESIDE_OTHERS, str(tmp_path), str(limit)]
    others = [
        subprocess.Popen([*command, *map(str, videos[number % 2])], stdout=subprocess.PIPE, text=True)
        for number in range(3)
    ]
    assert [process.communicate()[0].strip() in ("kept", "decoded") for process in others] == [True] * 3
    assert [process.returncode for process in others] == [0, 0, 0]
    assert {file.suffix for file in tmp_path.iterdir()} <= {".npy", ""}
