"""UAV-Human: everything from the names of files."""

from collections import Counter

import pytest

from dtcm.config import DataConfig
from dtcm.data.datasets import check, classes, load, read_lists
from dtcm.data.datasets.uavhuman import ACTIONS, PERSONS, TRAIN_PERSONS, Clip, parse
from dtcm.errors import BadInput

EXAMPLE = "P070S01G10B00H10UC102000LC092000A031R0_09131758.avi"


def name(person, action=0, minute=0):
    return f"P{person:03d}S01G10B00H10UC102000LC092000A{action:03d}R0_0913{minute:04d}.avi"


def touch(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


@pytest.mark.parametrize(
    ("path", "clip"),
    [
        (EXAMPLE, Clip(70, 1, 31, 0, "09131758")),
        (f"fisheye/{EXAMPLE}", Clip(70, 1, 31, 0, "09131758")),
        ("P118S02G1110B0012H1000UC022000LC021000A154R1_08241838.avi", Clip(118, 2, 154, 1, "08241838")),
        ("P119S01G10B00H10UC102000LC092000A031R0_09131758.avi", None),
        ("P070S01G10B00H10UC102000LC092000A155R0_09131758.avi", None),
        ("P070S01G10B00H10UC102000LC092000A031R0.avi", None),
        ("P07٠S01G10B00H10UC102000LC092000A031R0_09131758.avi", None),
        ("holiday.avi", None),
    ],
)
def test_names_tell_person_setup_action_replicate_and_time(path, clip):
    assert parse(path) == clip


def test_both_splits_train_on_89_of_119_persons():
    assert PERSONS == 119
    for split, persons in TRAIN_PERSONS.items():
        assert (split, len(persons), len(set(range(119)) - persons)) == (split, 89, 30)
        assert persons <= set(range(119))
    v1, v2 = TRAIN_PERSONS[1], TRAIN_PERSONS[2]
    assert {0, 8, 10, 21, 118} <= v1
    assert not {1, 3, 4, 9, 22, 24, 113} & v1
    assert {3, 6, 22, 24, 115, 118} <= v2
    assert not {1, 2, 7, 105, 116} & v2


@pytest.mark.parametrize(("split", "test"), [(1, {3, 4, 9}), (2, {2, 7, 9})])
def test_persons_are_groups_and_decide_the_subset(tmp_path, split, test):
    touch(tmp_path, *(name(person, action) for person in range(11) for action in (0, 154)))
    records = load(DataConfig(root=str(tmp_path), split=split))
    assert {record.group for record in records if record.subset == "test"} == {f"P{p:03d}" for p in test | {1}}
    assert Counter(record.class_name for record in records) == {"A000": 11, "A154": 11}
    assert (records[-1].label, len(classes(records))) == (154, ACTIONS)
    assert records[0].path == str(tmp_path / name(0))


def test_a_mapping_table_names_the_actions(tmp_path):
    touch(tmp_path, name(0, 7))
    (tmp_path / "mapping_table.txt").write_text("\n".join(f"{i}\taction {i}" for i in range(ACTIONS)))
    (record,) = load(DataConfig(root=str(tmp_path), format="uavhuman"))
    assert (record.label, record.class_name) == (7, "action 7")
    (tmp_path / "mapping_table.txt").write_text("0\tdrink\n")
    with pytest.raises(BadInput, match="155 actions"):
        load(DataConfig(root=str(tmp_path), format="uavhuman"))


def test_a_name_that_is_not_uav_humans_is_told_and_not_dropped(tmp_path):
    touch(tmp_path, name(0), name(1), "holiday.avi", "notes.txt")
    with pytest.raises(BadInput, match=r"1 of 3 videos .* not named as UAV-Human .* holiday\.avi"):
        check(DataConfig(root=str(tmp_path)))


def test_videos_of_two_cameras_are_not_mixed(tmp_path):
    touch(tmp_path, f"rgb/{name(0)}", f"fisheye/{name(0)}", f"fisheye/{name(1)}")
    with pytest.raises(BadInput, match=rf"1 clips .* more than once, such as fisheye/{name(0)} and rgb/"):
        load(DataConfig(root=str(tmp_path)))
    assert len(load(DataConfig(root=str(tmp_path / "fisheye")))) == 2


@pytest.mark.parametrize(("split", "message"), [(3, "splits 1 and 2"), (1, "holds no video")])
def test_what_is_not_there_is_refused(tmp_path, split, message):
    with pytest.raises(BadInput, match=message):
        load(DataConfig(root=str(tmp_path), format="uavhuman", split=split))


def test_there_are_no_lists_to_read(tmp_path):
    with pytest.raises(BadInput, match="holds no lists"):
        read_lists(str(tmp_path), "uavhuman")


def test_persons_and_actions_without_a_clip_are_said(tmp_path):
    touch(tmp_path, *(name(person, person) for person in range(PERSONS) if person not in (1, 2, 3)))
    (note,) = check(DataConfig(root=str(tmp_path))).notes
    # Of split 1, person 2 trains, and 1 and 3 test; actions 1 to 3 and 119 to 154 have no clip.
    assert note == (
        "There is no clip of 3 of 119 persons (1 for training, 2 for testing) "
        "and of 39 of 155 actions (A001, A002, A003, A119, A120, ...)."
    )
    touch(tmp_path, *(name(action % PERSONS, action, minute=1) for action in range(ACTIONS)))
    assert check(DataConfig(root=str(tmp_path))).notes == ()
