"""ARID's public lists: what they say, and what is said of a broken one."""

from collections import Counter
from typing import Any

import pytest

from dtcm.config import DataConfig
from dtcm.data.datasets import check, classes, load, read_lists
from dtcm.data.datasets.arid import MAPPING_TABLES
from dtcm.data.datasets.lists import ListEntry, open_lists, read_classes, read_list
from dtcm.errors import BadInput

TABLE = "0\tDrink\n1\tJump\n"
TRAIN = ["Drink/Drink_1_1.avi", "Drink/Drink_1_2.avi", "Jump/Jump_2_1.avi"]
TEST = ["Drink/Drink_3_1.avi", "Jump/Jump_3_7.avi"]
OTHER = ["Jump/Jump_3_8.avi"]


def tab_list(paths):
    return "".join(f"{i}\t{int(path.startswith('Jump'))}\t{path}\n" for i, path in enumerate(paths))


def touch(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


@pytest.fixture
def arid(tmp_path):
    """ARID v1.0 in small: root/clips with videos, root/lists with the lists of split 1."""
    touch(tmp_path / "clips", *TRAIN, *TEST, *OTHER)
    (tmp_path / "lists").mkdir()
    for name, paths in (("train", TRAIN), ("test", TEST), ("other", OTHER)):
        (tmp_path / "lists" / f"ARID_split1_{name}.txt").write_text(tab_list(paths))
    (tmp_path / "lists" / "ARID_mapping_table.txt").write_text(TABLE)
    return tmp_path


def ids(records, subset):
    return [record.video_id for record in records if record.subset == subset]


def test_records_carry_what_the_lists_say(arid):
    records = load(DataConfig(root=str(arid)))
    assert (ids(records, "train"), ids(records, "test"), ids(records, "other")) == (TRAIN, TEST, OTHER)
    assert [record.video_id for record in records] == sorted(TRAIN + TEST + OTHER)
    jump = next(record for record in records if record.video_id == "Jump/Jump_3_7.avi")
    assert (jump.label, jump.class_name, jump.group) == (1, "Jump", "Jump_3")
    assert jump.path == str(arid / "clips/Jump/Jump_3_7.avi")
    assert classes(records) == ["Drink", "Jump"]


def test_lists_may_lie_in_the_root_or_elsewhere(arid, tmp_path_factory):
    expected = load(DataConfig(root=str(arid)))
    for file in (arid / "lists").iterdir():
        file.rename(arid / file.name)
    (arid / "lists").rmdir()
    assert load(DataConfig(root=str(arid))) == expected
    elsewhere = tmp_path_factory.mktemp("lists")
    for file in arid.glob("*.txt"):
        file.rename(elsewhere / file.name)
    assert load(DataConfig(root=str(arid), lists=str(elsewhere))) == expected


@pytest.mark.parametrize("folder", ["clips_v1.0", "."])
def test_videos_may_lie_in_a_versioned_folder_or_in_the_root(arid, folder):
    if folder == ".":
        for path in (arid / "clips").iterdir():
            path.rename(arid / path.name)
        (arid / "clips").rmdir()
    else:
        (arid / "clips").rename(arid / folder)
    assert ids(load(DataConfig(root=str(arid))), "train") == TRAIN


def test_a_listed_avi_may_be_an_mp4_but_the_very_file_comes_first(arid):
    (arid / "clips" / TRAIN[0]).rename(arid / "clips/Drink/Drink_1_1.mp4")
    touch(arid / "clips", "Drink/Drink_1_2.mp4")
    records = load(DataConfig(root=str(arid)))
    assert ids(records, "train") == ["Drink/Drink_1_1.mp4", *TRAIN[1:]]
    assert records[0].path.endswith("clips/Drink/Drink_1_1.mp4")


def test_challenge_lists_find_train_and_test_videos_in_folders_of_their_own(tmp_path):
    touch(tmp_path, "train/Drink/Drink_10_1.mp4", "train/Jump/Jump_1_1.mp4", "test/0.mp4")
    header = "VideoID,Video,ClassID\n"
    (tmp_path / "ARID1.1_t1_train_pub.csv").write_text(header + "0,Drink/Drink_10_1.mp4,0\r\n1,Jump/Jump_1_1.mp4,1\r\n")
    (tmp_path / "ARID1.1_t1_test_pub.csv").write_text(header + "0,0.mp4,1\n")
    records = load(DataConfig(root=str(tmp_path)))
    assert [(r.video_id, r.label, r.class_name, r.group, r.subset) for r in records] == [
        ("test/0.mp4", 1, "Jump", "", "test"),
        ("train/Drink/Drink_10_1.mp4", 0, "Drink", "Drink_10", "train"),
        ("train/Jump/Jump_1_1.mp4", 1, "Jump", "Jump_1", "train"),
    ]
    with pytest.raises(BadInput, match="split 2"):
        load(DataConfig(root=str(tmp_path), split=2))


def test_one_list_with_a_table_leaves_the_split_open(tmp_path):
    touch(tmp_path / "clips", *TRAIN)
    (tmp_path / "list.txt").write_text(tab_list(TRAIN).replace("\n", "\r\n"))
    (tmp_path / "mapping_table.txt").write_text(TABLE)
    assert ids(load(DataConfig(root=str(tmp_path))), "train") == TRAIN


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7\t1\tJump/Jump_2_1.avi\n", ListEntry("Jump/Jump_2_1.avi", 1)),
        ("7\t1\tJump/a b.avi\r\n", ListEntry("Jump/a b.avi", 1)),
        ("\ufeff7\t1\tJump/Jump_2_1.avi", ListEntry("Jump/Jump_2_1.avi", 1)),
        ('VideoID,Video,ClassID\n0,"Jump/a,b.mp4",1\n', ListEntry("Jump/a,b.mp4", 1)),
        ("Jump/Jump_2_1 64 1\n", ListEntry("Jump/Jump_2_1", 1)),
        ("\nJump/Jump_2_1.mp4 1\n\n", ListEntry("Jump/Jump_2_1.mp4", 1)),
        ("Jump/a b.mp4 1\n", ListEntry("Jump/a b.mp4", 1)),
    ],
)
def test_every_list_format_is_told_by_its_content(tmp_path, text, expected):
    (tmp_path / "list.txt").write_text(text, encoding="utf-8", newline="")
    assert read_list(str(tmp_path / "list.txt")) == [expected]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no video"),
        ("\n \n", "lists no video"),
        ("VideoID,Video,ClassID\n", "lists no video"),
        ("0\t0\tDrink/a.avi\n1\t0\n", "line 2: .* path and a class id"),
        ("0\tzero\tDrink/a.avi\n", "line 1: .* path and a class id"),
        ("0\t²\tDrink/a.avi\n", "line 1: .* path and a class id"),
        (f"0\t{'9' * 5000}\tDrink/a.avi\n", "line 1: .* path and a class id"),
        ("0\t0\t.\n", "line 1: .* path and a class id"),
        ('VideoID,Video,ClassID\n0,"a.mp4,0\n', "line 2: .* path and a class id"),
        ("0\t--1\tDrink/a.avi\n", "line 1: .* path and a class id"),
        ("VideoID,Video,ClassID\n0,a.mp4,0\n1,b.mp4\n", "line 3: .* path and a class id"),
        ("Drink/a.avi\n", "line 1: .* path and a class id"),
        ("0\t0\tDrink/a.avi\n\n1\t2\tDrink/b.avi\n", "line 3: there is no class 2; .* 0 to 1"),
        ("0\t-1\tDrink/a.avi\n", "line 1: there is no class -1"),
        ("0\t0\t../Drink/a.avi\n", "line 1: .* leads out"),
        ("0\t0\tDrink/../../a.avi\n", "line 1: .* leads out"),
        ("0\t0\t/etc/a.avi\n", "line 1: .* leads out"),
        (b"\xff\xfe0\t0\ta.avi\n", "not a text file"),
    ],
)
def test_a_broken_list_is_refused_with_file_and_line(arid, text, message):
    path = arid / "lists" / "ARID_split1_train.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInput, match=message) as caught:
        load(DataConfig(root=str(arid)))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0\tDrink\nJump\n", "line 2"),
        ("0\tDrink\n0\tJump\n", "line 2"),
        ("1\tDrink\n2\tJump\n", r"0, 1, 2, \.\.\.; it has \[1, 2\]"),
        ("", r"0, 1, 2"),
    ],
)
def test_a_broken_mapping_table_is_refused(arid, text, message):
    (arid / "lists" / "ARID_mapping_table.txt").write_text(text)
    with pytest.raises(BadInput, match=message):
        load(DataConfig(root=str(arid)))


def test_missing_videos_are_counted_and_named_at_once(arid):
    for path in TRAIN + TEST[:1]:
        (arid / "clips" / path).unlink()
    with pytest.raises(BadInput, match=r"4 of 6 listed videos .* \(3 train, 1 test\)") as caught:
        load(DataConfig(root=str(arid)))
    assert ", ".join(TRAIN + TEST[:1]) in str(caught.value)
    assert str(arid / "clips") in str(caught.value)


def test_a_share_of_missing_videos_can_be_allowed_and_is_still_named(arid, caplog):
    (arid / "clips" / TRAIN[1]).unlink()
    data = DataConfig(root=str(arid), max_missing_share=0.2)
    assert ids(load(data), "train") == [TRAIN[0], TRAIN[2]]
    assert f"1 of 6 listed videos are not under {arid / 'clips'} (1 train), such as {TRAIN[1]}" in caplog.text
    (arid / "clips" / TEST[0]).unlink()
    with pytest.raises(BadInput, match="2 of 6 listed videos"):
        load(data)
    for share in (-0.1, 1.0):
        with pytest.raises(BadInput, match="max_missing_share"):
            load(DataConfig(root=str(arid), max_missing_share=share))


def test_the_other_list_is_left_alone_unless_asked_for(arid):
    (arid / "clips" / OTHER[0]).unlink()
    found = check(DataConfig(root=str(arid)))
    assert (len(found.records), found.missing) == (5, ())
    assert found.notes == ('1 videos of the list "other" are not there, and not needed.',)
    with pytest.raises(BadInput, match=r"1 of 6 listed videos .* \(1 train\)"):
        load(DataConfig(root=str(arid), other="train"))
    touch(arid / "clips", *OTHER)
    assert ids(load(DataConfig(root=str(arid), other="train")), "train") == sorted(TRAIN + OTHER)
    assert ids(load(DataConfig(root=str(arid), other="test")), "test") == sorted(TEST + OTHER)
    (arid / "lists" / "ARID_split1_other.txt").unlink()
    assert len(load(DataConfig(root=str(arid)))) == 5
    with pytest.raises(BadInput, match='has no list "other" of split 1'):
        load(DataConfig(root=str(arid), other="test"))


def test_videos_that_no_list_names_are_told(arid):
    touch(arid / "clips", "Drink/Drink_9_9.avi")
    (note,) = check(DataConfig(root=str(arid))).notes
    assert note.startswith(f"1 videos under {arid / 'clips'} are not listed and are left alone")
    assert "Drink/Drink_9_9.avi" in note


def test_a_video_in_training_and_test_is_refused(arid):
    (arid / "lists" / "ARID_split1_test.txt").write_text(tab_list(TEST + TRAIN[:1]))
    with pytest.raises(BadInput, match="listed twice, under train and test"):
        load(DataConfig(root=str(arid)))


def test_a_split_without_lists_is_refused(arid):
    with pytest.raises(BadInput, match=r"lacks ARID_split2_train\.txt, ARID_split2_test\.txt; it has ARID_map"):
        load(DataConfig(root=str(arid), split=2))


@pytest.mark.parametrize("field", ["root", "lists"])
def test_folders_that_are_not_there_are_refused(arid, field):
    data: dict[str, Any] = {"root": str(arid), field: str(arid / "nowhere" / "else")}
    with pytest.raises(BadInput, match=f"There is no .*else.* data.{field}"):
        load(DataConfig(**data))


def test_a_lists_folder_without_lists_is_not_passed_over(arid):
    with pytest.raises(BadInput, match=r"data\.lists"):
        load(DataConfig(root=str(arid), lists=str(arid / "clips")))


@pytest.mark.parametrize(("split", "train", "test"), [(1, 2288, 823), (2, 2252, 859), (3, 2259, 852)])
def test_official_lists(reference, tmp_path, split, train, test):
    lists = str(reference / "reference" / "annotations")
    listed = read_lists(lists, "arid-v1", split)
    touch(tmp_path, *(record.path for record in listed))
    records = load(DataConfig(root=str(tmp_path), lists=lists, format="arid-v1", split=split))
    assert [r.video_id for r in records] == sorted(r.video_id for r in listed)
    assert Counter(record.subset for record in records) == {"train": train, "test": test, "other": 673}
    names = ["Drink", "Jump", "Pick", "Pour", "Push", "Run", "Sit", "Stand", "Turn", "Walk", "Wave"]
    assert classes(records) == names == read_classes(open_lists(lists), MAPPING_TABLES)
    assert all(record.video_id.startswith(f"{record.class_name}/{record.group}_") for record in records)
    groups = {
        subset: {record.group for record in records if record.subset == subset} for subset in ("train", "test", "other")
    }
    assert not groups["train"] & groups["test"]
    assert groups["other"] & groups["test"]


def test_official_challenge_lists_have_six_classes(reference):
    records = read_lists(str(reference / "reference" / "annotations"), "arid-v15")
    assert Counter(record.subset for record in records) == {"train": 1837, "test": 1289}
    assert {r.label: r.class_name for r in records} == dict(
        enumerate(["Run", "Sit", "Stand", "Turn", "Walk", "Wave"], 5)
    )
    assert all(bool(record.group) == (record.subset == "train") for record in records)
