"""Class folders, and what file names tell."""

import pytest

from dtcm.config import DataConfig
from dtcm.data.datasets import classes, load
from dtcm.data.datasets.folder import class_of, group_of
from dtcm.data.datasets.listing import look
from dtcm.errors import BadInput


def touch(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


def test_classes_are_the_folders_in_the_order_of_their_names(tmp_path):
    touch(tmp_path, "walk/a.mp4", "walk/b.AVI", "jump/jump_3_1.webm", "jump/notes.txt", "jump/._a.mp4", "loose.mp4")
    records = load(DataConfig(root=str(tmp_path)))
    assert [(r.video_id, r.label, r.class_name, r.group, r.subset) for r in records] == [
        ("jump/jump_3_1.webm", 0, "jump", "jump_3", "train"),
        ("walk/a.mp4", 1, "walk", "", "train"),
        ("walk/b.AVI", 1, "walk", "", "train"),
    ]
    assert records[0].path == str(tmp_path / "jump" / "jump_3_1.webm")
    assert classes(records) == ["jump", "walk"]


@pytest.mark.parametrize(
    ("video_id", "group"),
    [
        ("Drink/Drink_10_1.avi", "Drink_10"),
        ("train/Drink/Drink_10_1.mp4", "Drink_10"),
        ("a_1_2/a_1_2_3_4.mp4", "a_1_2_3"),
        ("a+b/a+b_1_2.mp4", "a+b_1"),
        ("Drink/Jump_10_1.avi", ""),
        ("Drink/Drink_10.avi", ""),
        ("holiday/video_2020_11.mp4", ""),
        ("0.mp4", ""),
    ],
)
def test_groups_are_read_from_class_group_index_alone(video_id, group):
    assert group_of(video_id) == group


def test_class_is_the_folder():
    assert [class_of(video) for video in ("Drink/a.mp4", "x/Drink/a.mp4", "a.mp4")] == ["Drink", "Drink", ""]


def test_listing_goes_into_every_depth_and_link(tmp_path):
    touch(tmp_path / "elsewhere", "deep/er/c.mkv")
    touch(tmp_path / "root", "b.mp4", "a/x.mov", "a/x.mov.part")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    listing = look(str(tmp_path / "root"))
    assert listing.videos == ("a/x.mov", "b.mp4", "link/deep/er/c.mkv")
    assert listing.folder == listing.root == str(tmp_path / "root")


def test_a_folder_without_videos_is_no_data_set(tmp_path):
    touch(tmp_path, "loose.mp4", "too/deep/a.mp4", "a/readme.md")
    with pytest.raises(BadInput, match="is no data set"):
        load(DataConfig(root=str(tmp_path)))


def test_labels_without_a_video_have_a_stand_in_name(tmp_path):
    touch(tmp_path, "a/1.mp4", "b/1.mp4", "c/1.mp4")
    records = load(DataConfig(root=str(tmp_path)))
    assert classes([records[0], records[2]]) == ["a", "class 1", "c"]
    assert classes([]) == []


def test_real_class_folders(reference):
    records = load(DataConfig(root=str(reference / "data" / "arid11")))
    assert len(records) == 24
    assert classes(records) == ["Drink", "Jump", "Pick", "Pour", "Push", "Run", "Sit", "Stand", "Turn", "Walk", "Wave"]
    assert {record.class_name for record in records if record.group.startswith("Drink_")} == {"Drink"}
    bright = load(DataConfig(root=str(reference / "data" / "bright")))
    assert [sum(record.label == label for record in bright) for label in (0, 1)] == [25, 25]
    assert {record.group for record in bright} == {""}
