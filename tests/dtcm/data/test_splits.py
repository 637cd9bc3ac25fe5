"""Nothing of a held-out group is trained on, and every class can be learnt."""

import random
from collections import Counter
from dataclasses import replace
from itertools import combinations

import pytest

from dtcm.config import DataConfig
from dtcm.data.datasets import load
from dtcm.data.records import VideoRecord
from dtcm.data.splits import assign_subsets, closest_subset
from dtcm.errors import BadInput

DATA = DataConfig(test_fraction=0.3, val_fraction=0.15)


def make(sizes, subset="train", known=True):
    """Records of classes a, b, ...: sizes[c][i] clips in group 10 c + i of class c."""
    return [
        VideoRecord(f"{name}/{name}_{g}_{i}.mp4", "", label, name, f"{name}_{g}" if known else "", subset)
        for label, (name, groups) in enumerate(zip("abcdefgh", sizes, strict=False))
        for g, size in enumerate(groups, start=10 * label)
        for i in range(size)
    ]


def by_subset(records, what=lambda record: record.video_id):
    found = {}
    for record in records:
        found.setdefault(record.subset, set()).add(what(record))
    return found


def disjoint(groups):
    return all(not a & b for a, b in combinations(groups.values(), 2))


MANY = [[4, 7, 3, 5, 6, 9, 2], [8, 8, 8, 8, 8], [6, 1, 1, 12, 2, 5], [10, 20, 5, 5, 5, 5]]
GOLDEN = {"train": {"a_0", "a_1", "b_10", "b_13"}, "val": {"a_2", "b_14"}, "test": {"a_3", "b_11", "b_12"}}


@pytest.mark.parametrize("seed", range(20))
def test_groups_stay_together_and_classes_are_everywhere(seed):
    records = make(MANY)
    out, report = assign_subsets(records, DATA, seed)
    assert [replace(record, subset="train") for record in out] == sorted(records, key=lambda r: r.video_id)
    groups = by_subset(out, lambda record: record.group)
    assert set(groups) == {"train", "val", "test"}
    assert disjoint(groups)
    assert by_subset(out, lambda record: record.label) == {subset: {0, 1, 2, 3} for subset in groups}
    assert report.counts == Counter(record.subset for record in out)
    assert report.val_by_group


@pytest.mark.parametrize("seed", range(10))
def test_shares_are_as_close_as_whole_groups_allow(seed):
    out, _ = assign_subsets(make(MANY), DATA, seed)
    for label, sizes in enumerate(MANY):
        held = sum(record.subset == "test" for record in out if record.label == label)
        sums = {sum(part) for n in range(1, len(sizes)) for part in combinations(sizes, n)}
        assert abs(held - 0.3 * sum(sizes)) == min(abs(total - 0.3 * sum(sizes)) for total in sums)


@pytest.mark.parametrize("seed", range(10))
def test_a_number_that_several_classes_share_is_one_place(seed):
    records = [
        VideoRecord(f"{name}/{name}_{g}_{i}.mp4", "", label, name, f"{name}_{g}")
        for label, name in enumerate("abcd")
        for g in range(label, label + 4)
        for i in range(3)
    ]
    out, _ = assign_subsets(records, DATA, seed)
    numbers = by_subset(out, lambda record: record.group.split("_")[1])
    assert not (numbers["train"] | numbers["val"]) & numbers["test"]
    labels = by_subset(out, lambda record: record.label)
    assert labels["train"] == labels["test"] == {0, 1, 2, 3}


def test_closest_subset_against_every_subset():
    rng = random.Random(0)
    for _ in range(200):
        sizes = [rng.randint(1, 12) for _ in range(rng.randint(2, 7))]
        target = rng.uniform(0, 1) * sum(sizes)
        chosen = closest_subset(sizes, target)
        assert len(set(chosen)) == len(chosen)
        best = min(abs(sum(p) - target) for n in range(1, len(sizes)) for p in combinations(sizes, n))
        assert abs(sum(sizes[i] for i in chosen) - target) == pytest.approx(best)
    assert closest_subset([5], 2.0) == []


def test_order_does_not_matter_and_seed_and_split_do():
    records = make(MANY)
    shuffled = random.Random(0).sample(records, len(records))
    assert assign_subsets(shuffled, DATA, 3) == assign_subsets(records, DATA, 3)
    tests = {frozenset(by_subset(assign_subsets(records, DATA, seed)[0])["test"]) for seed in range(8)}
    assert len(tests) > 4
    splits = {frozenset(by_subset(assign_subsets(records, replace(DATA, split=k), 0)[0])["test"]) for k in (1, 2, 3)}
    assert len(splits) > 1


def test_a_test_list_is_never_touched():
    records = make(MANY) + [replace(r, video_id=f"t/{r.video_id}", group="") for r in make([[3], [4]], "test")]
    records += [replace(r, video_id=f"o/{r.video_id}") for r in make([[2]], "other")]
    out, report = assign_subsets(records, DATA, 0)
    subsets = by_subset(out)
    assert subsets["test"] == {record.video_id for record in records if record.subset == "test"}
    assert subsets["other"] == {record.video_id for record in records if record.subset == "other"}
    assert 0.1 < report.counts["val"] / sum(map(sum, MANY)) < 0.2
    assert not any("no test list" in note for note in report.notes)


def test_validation_of_the_data_set_is_kept():
    records = make(MANY) + [replace(r, video_id=f"v/{r.video_id}", group="v") for r in make([[3], [4]], "val")]
    assert by_subset(assign_subsets(records, DATA, 0)[0])["val"] == {r.video_id for r in records if r.subset == "val"}


def test_a_class_with_one_group_stays_in_training_and_is_named():
    out, report = assign_subsets(make([[9], [4, 4, 4], [3, 3, 3, 3]]), DATA, 0)
    assert {record.subset for record in out if record.label == 0} == {"train"}
    assert any("No test video for a:" in note for note in report.notes)
    assert any("No validation video for a:" in note for note in report.notes)


def test_validation_goes_by_clip_where_most_classes_have_one_group_and_says_so():
    records = make([[10, 20]] * 3)
    out, report = assign_subsets(records, DATA, 0)
    groups = by_subset(out, lambda record: record.group)
    assert not (groups["train"] | groups["val"]) & groups["test"]
    assert not report.val_by_group
    assert any("Validation shares groups with training" in note for note in report.notes)
    assert by_subset(out, lambda record: record.label)["val"] == {0, 1, 2}


def test_unknown_groups_are_divided_by_clip():
    out, report = assign_subsets(make([[20], [40]], known=False), DATA, 0)
    for label, test, val in ((0, 6, 2), (1, 12, 4)):
        assert Counter(r.subset for r in out if r.label == label) == {
            "test": test,
            "val": val,
            "train": 20 * (label + 1) - test - val,
        }
    assert report.val_by_group


@pytest.mark.parametrize("seed", range(5))
def test_groups_that_span_classes_do_not_cross_either(seed):
    records = [
        VideoRecord(f"{name}/{person}_{i}.mp4", "", label, name, f"person{person}")
        for label, name in enumerate("abc")
        for person in range(10)
        for i in range(2)
    ]
    # Only person 0 does d, so person 0 must stay in training.
    records += [VideoRecord(f"d/{i}.mp4", "", 3, "d", "person0") for i in range(2)]
    out, _ = assign_subsets(records, DATA, seed)
    assert disjoint(by_subset(out, lambda record: record.group))
    assert by_subset(out, lambda record: record.label)["train"] == {0, 1, 2, 3}
    assert len(by_subset(out, lambda record: record.group)["test"]) in (2, 3)


def test_nothing_is_held_out_where_nothing_is_asked_for():
    records = make(MANY)
    out, report = assign_subsets(records, DataConfig(test_fraction=0, val_fraction=0), 0)
    assert {record.subset for record in out} == {"train"}
    assert report.notes == ()


@pytest.mark.parametrize("change", [{"test_fraction": 1.0}, {"val_fraction": -0.1}, {"split": 0}])
def test_impossible_divisions_are_refused(change):
    with pytest.raises(BadInput, match=next(iter(change))):
        assign_subsets(make(MANY), replace(DATA, **change), 0)


def test_golden_subsets():
    """A change of these moves every held-out set, and so every result on them."""
    out, _ = assign_subsets(make([[2, 3, 1, 2], [4, 1, 2, 2, 1]]), DATA, 0)
    assert by_subset(out, lambda record: record.group) == GOLDEN


@pytest.mark.parametrize("seed", range(25))
def test_real_clips_of_six_classes(reference, seed):
    records = load(DataConfig(root=str(reference / "data" / "arid6")))
    assert len(records) == 150
    out, _ = assign_subsets(records, DATA, seed)
    groups = by_subset(out, lambda record: record.group)
    assert not (groups["train"] | groups["val"]) & groups["test"]
    labels = by_subset(out, lambda record: record.label)
    assert labels["train"] == labels["test"] == labels["val"] == set(range(6))
