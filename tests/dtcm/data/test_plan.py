"""The plan: pure, complete, the same for any number of workers."""

import pickle
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from dtcm.config import DataConfig
from dtcm.data.clips import centre_start
from dtcm.data.plan import Plan, PlanRow, centre_rows, shard
from dtcm.errors import BadInput

DATA = DataConfig(frames=4, stride=3, width_px=96, height_px=72, crop_px=64, flip=True)
COUNTS = (30, 12, 10, 7, 1, 64, 33, 90, 18, 25, 41, 50)
PLAN = Plan(frame_counts=COUNTS, data=DATA, batch=4, epochs=5, seed=0)

GOLDEN_0 = [
    PlanRow(step=0, slot=0, video=3, frames=(0, 3, 6, 2), x_px=3, y_px=5, flip=False),
    PlanRow(step=0, slot=1, video=7, frames=(69, 72, 75, 78), x_px=31, y_px=5, flip=True),
    PlanRow(step=0, slot=2, video=0, frames=(19, 22, 25, 28), x_px=22, y_px=2, flip=True),
    PlanRow(step=0, slot=3, video=10, frames=(28, 31, 34, 37), x_px=21, y_px=5, flip=False),
]
GOLDEN_14_3 = PlanRow(step=14, slot=3, video=10, frames=(16, 19, 22, 25), x_px=19, y_px=6, flip=True)


def all_rows(plan):
    return [row for step in range(plan.steps) for row in plan.rows(step)]


def test_any_step_in_any_order_gives_the_same_rows():
    forwards = [PLAN.rows(step) for step in range(PLAN.steps)]
    again = replace(PLAN)
    for step in np.random.default_rng(0).permutation(PLAN.steps).tolist() * 2:
        assert again.rows(step) == forwards[step]
    assert pickle.loads(pickle.dumps(PLAN)).rows(7) == forwards[7]


def test_every_epoch_takes_every_video_once_in_another_order():
    assert (PLAN.steps_per_epoch, PLAN.steps) == (3, 15)
    orders = [[row.video for step in range(3 * e, 3 * e + 3) for row in PLAN.rows(step)] for e in range(5)]
    assert all(sorted(order) == list(range(12)) for order in orders)
    assert len(set(map(tuple, orders))) == 5


def test_the_incomplete_batch_is_dropped_but_no_video_for_ever():
    plan = replace(PLAN, batch=5, epochs=20)
    assert plan.steps_per_epoch == 2
    rows = all_rows(plan)
    for epoch in range(20):
        assert max(Counter(row.video for row in rows[10 * epoch : 10 * epoch + 10]).values()) == 1
    assert {row.video for row in rows} == set(range(12))


def test_fewer_videos_than_a_batch_wrap_around():
    plan = replace(PLAN, frame_counts=(20, 30, 40), batch=8, epochs=1)
    assert plan.steps == 1
    assert sorted(Counter(row.video for row in plan.rows(0)).values()) == [2, 3, 3]


def test_slots_and_steps_are_numbered():
    assert [(row.step, row.slot) for row in PLAN.rows(6)] == [(6, 0), (6, 1), (6, 2), (6, 3)]


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_workers_divide_every_batch_by_their_rank(world):
    for step in range(PLAN.steps):
        parts = [shard(PLAN.rows(step), rank, world) for rank in range(world)]
        assert all(row.slot % world == rank for rank, part in enumerate(parts) for row in part)
        assert sorted(row for part in parts for row in part) == PLAN.rows(step)


def test_clips_stay_within_the_video_and_the_frame():
    rows = all_rows(replace(PLAN, epochs=60))
    for row in rows:
        total = COUNTS[row.video]
        start = row.frames[0]
        assert row.frames == tuple((start + 3 * i) % total for i in range(4))
        assert start <= max(0, total - 10)
    assert {row.x_px for row in rows} == set(range(33))
    assert {row.y_px for row in rows} == set(range(9))
    assert 0.4 < np.mean([row.flip for row in rows]) < 0.6


def test_without_flip_nothing_else_changes():
    plain = all_rows(replace(PLAN, data=replace(DATA, flip=False)))
    assert [row._replace(flip=False) for row in all_rows(PLAN)] == plain


def test_seeds_differ_in_order_and_in_clips():
    other = replace(PLAN, seed=1)
    assert [row.video for row in all_rows(PLAN)] != [row.video for row in all_rows(other)]
    one = replace(PLAN, frame_counts=(1000,), batch=1, epochs=20)
    starts = [[row.frames[0] for row in all_rows(replace(one, seed=seed))] for seed in (0, 1)]
    assert not set(zip(*starts, strict=True)) <= {(a, a) for a in range(1000)}
    assert len(set(starts[0])) > 15, "each step draws its own clip"


def test_more_epochs_only_add_steps():
    longer = replace(PLAN, epochs=9)
    assert [longer.rows(step) for step in range(PLAN.steps)] == [PLAN.rows(step) for step in range(PLAN.steps)]


LABELS = (0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2)
BALANCED = replace(PLAN, data=replace(DATA, balanced=True), labels=LABELS)


def test_balanced_epochs_take_every_class_equally_often_and_its_videos_in_turn():
    assert (BALANCED.steps_per_epoch, BALANCED.steps) == (PLAN.steps_per_epoch, PLAN.steps)
    orders = [[row.video for step in range(3 * e, 3 * e + 3) for row in BALANCED.rows(step)] for e in range(5)]
    for order in orders:
        assert Counter(LABELS[video] for video in order) == {0: 4, 1: 4, 2: 4}
        times = Counter(order)
        assert all(times[video] <= 1 for video in range(7))  # four of seven, another four next time
        assert sorted(times[video] for video in (7, 8, 9)) == [1, 1, 2]
        assert [times[video] for video in (10, 11)] == [2, 2]
    assert len(set(map(tuple, orders))) == 5
    assert {video for order in orders for video in order} == set(range(12))


def test_classes_that_do_not_divide_an_epoch_differ_by_one():
    plan = replace(BALANCED, frame_counts=COUNTS[:11], labels=LABELS[:11], batch=11, epochs=30)
    for step in range(30):
        assert sorted(Counter(LABELS[row.video] for row in plan.rows(step)).values()) == [3, 4, 4]


def test_a_balanced_plan_is_a_pure_function_of_step_and_seed():
    rows = [BALANCED.rows(step) for step in range(15)]
    again = pickle.loads(pickle.dumps(BALANCED))
    assert [again.rows(step) for step in reversed(range(15))] == rows[::-1]
    other = replace(BALANCED, seed=1)
    assert [row.video for row in all_rows(other)] != [row.video for row in all_rows(BALANCED)]


def test_labels_change_nothing_where_classes_are_not_balanced():
    assert all_rows(replace(PLAN, labels=LABELS)) == all_rows(PLAN)


def test_a_balanced_plan_needs_a_label_of_each_video():
    with pytest.raises(ValueError, match="0 labels of 12 videos"):
        replace(BALANCED, labels=())


def test_what_stands_in_for_a_clip_is_every_other_video_of_its_class_once_in_a_fixed_order():
    orders = set()
    for row in all_rows(BALANCED):
        others = list(BALANCED.replacements(row))
        assert sorted(other.video for other in others) == [
            video for video in range(12) if LABELS[video] == LABELS[row.video] and video != row.video
        ]
        assert {(other.step, other.slot) for other in others} <= {(row.step, row.slot)}
        assert all(max(other.frames) < COUNTS[other.video] for other in others)
        assert others == list(pickle.loads(pickle.dumps(BALANCED)).replacements(row))
        orders.add(tuple(other.video for other in others))
    assert len(orders) > len(COUNTS)  # not always the same video


def test_golden_rows():
    """A change of these rows changes every run: raise the version and say so in the changelog."""
    assert PLAN.rows(0) == GOLDEN_0
    assert PLAN.rows(14)[3] == GOLDEN_14_3


@pytest.mark.parametrize("step", [-1, 15])
def test_a_step_that_is_not_planned_is_an_error(step):
    with pytest.raises(IndexError):
        PLAN.rows(step)


@pytest.mark.parametrize(
    "change",
    [{"frame_counts": ()}, {"batch": 0}, {"epochs": 0}, {"seed": -1}, {"data": replace(DATA, crop_px=73)}],
    ids=lambda change: next(iter(change)),
)
def test_a_plan_that_cannot_be_is_refused(change):
    with pytest.raises(BadInput):
        replace(PLAN, **change)


def test_centre_rows_are_central_and_fixed():
    rows = centre_rows(COUNTS, DATA)
    assert [row.video for row in rows] == [row.slot for row in rows] == list(range(12))
    assert {(row.x_px, row.y_px, row.flip, row.step) for row in rows} == {(16, 4, False, 0)}
    assert [row.frames[0] for row in rows] == [centre_start(total, 4, 3) for total in COUNTS]
    assert rows[0].frames == (10, 13, 16, 19)
    assert rows[3].frames == (0, 3, 6, 2)
