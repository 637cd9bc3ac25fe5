"""Dark-48's official lists, and the videos that its clips were cut from."""

from collections import Counter

import pytest

from dtcm.config import DataConfig
from dtcm.data.datasets import classes, load, read_lists
from dtcm.data.datasets.dark48 import source_of, video_of
from dtcm.errors import BadInput


def touch(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


@pytest.fixture
def lists(reference):
    return str(reference / "reference" / "annotations")


@pytest.mark.parametrize(
    ("video_id", "source"),
    [
        ("playing_laser_tag/FLe0xxKRJpA_000002_000012.mp4", "FLe0xxKRJpA"),
        ("a/_ab_12_3-4z_000697_000707.mp4", "_ab_12_3-4z"),
        ("whistling/yt-yYsrDPcOLtc_25.mp4", "yt-yYsrDPcOLtc"),
        ("bouncing/meGuchxNyKg_106.mp4", "meGuchxNyKg"),
        ("a/getty-bubbles-rise-video-id1B07155_0005_10.mp4", "getty-bubbles-rise-video-id1B07155_0005"),
        ("playing/7-5-9-9-3-6-9-3-2775993693_77.mp4", "7-5-9-9-3-6-9-3-2775993693"),
        ("a/name.mp4", ""),
        ("a/_12.mp4", ""),
        ("", ""),
    ],
)
def test_the_source_of_a_clip_is_in_its_name(video_id, source):
    assert source_of(video_id) == source


@pytest.mark.parametrize(
    ("split", "shared", "same_class", "shared_videos"), [(1, 138, 60, 177), (2, 137, 60, 174), (3, 127, 55, 177)]
)
def test_official_splits_share_sources(lists, split, shared, same_class, shared_videos):
    records = read_lists(lists, "dark48", split)
    train = {(record.source, record.label) for record in records if record.subset == "train"}
    sources = {source for source, _ in train}
    test = [record for record in records if record.subset == "test"]
    assert (len(test), len(records)) == (1763, 8815)
    assert all(record.source for record in records)
    assert sum(record.source in sources for record in test) == shared
    assert sum((record.source, record.label) in train for record in test) == same_class
    videos = {video_of(source) for source in sources}
    assert sum(video_of(record.source) in videos for record in test) == shared_videos
    assert round(100 * shared / 1763, 1) == {1: 7.8, 2: 7.8, 3: 7.2}[split]


def test_official_lists_load_and_agree_with_their_folders(lists, tmp_path):
    listed = read_lists(lists, "dark48", 2)
    assert listed[0].path == listed[0].video_id
    touch(tmp_path, *(record.path for record in listed))
    records = load(DataConfig(root=str(tmp_path), lists=lists, format="dark48", split=2))
    assert Counter(record.subset for record in records) == {"train": 7052, "test": 1763}
    assert len(classes(records)) == 48
    assert min(Counter(record.label for record in records).values()) == 100
    assert all(record.video_id.startswith(f"{record.class_name}/") for record in records)
    assert records[0].path == str(tmp_path / records[0].video_id)


def test_a_split_without_lists_names_what_is_missing(tmp_path):
    touch(tmp_path, "singing/a_1.mp4")
    (tmp_path / "dark48_train_split1.txt").write_text("singing/a_1.mp4 0")
    with pytest.raises(BadInput, match=r"lacks dark48_test_split1\.txt; it has dark48_train_split1\.txt"):
        load(DataConfig(root=str(tmp_path)))
    with pytest.raises(BadInput, match=r"lacks dark48_train_split4\.txt, dark48_test_split4\.txt"):
        load(DataConfig(root=str(tmp_path), format="dark48", split=4))
