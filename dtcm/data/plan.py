"""Everything random about the data, fixed before training.

`Plan.rows(step)` says which clip, frames, crop and flip stand in every slot of a global batch. It is a
pure function of the manifest's order, the configuration, the seed, the step and the slot, never of the
number of workers or of what ran before: a run that resumes in the middle of an epoch, on other
machines, sees the batches that it would have seen.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np

from dtcm.config import DataConfig
from dtcm.data import clips
from dtcm.errors import BadInput

EPOCH_ORDER, CLIP, BALANCED_ORDER, REPLACEMENT = 0, 1, 2, 3
"""Purposes that keep the streams of random numbers apart."""

T = TypeVar("T")


class PlanRow(NamedTuple):
    """One clip: which video, which of its frames, which part of them."""

    step: int
    slot: int
    """Place within the global batch."""
    video: int
    """Row of the manifest part that the plan was made for."""
    frames: tuple[int, ...]
    """Frame indices in the order of the clip."""
    x_px: int
    """Left edge of the crop in the resized frame."""
    y_px: int
    """Upper edge of the crop in the resized frame."""
    flip: bool


@dataclass(frozen=True)
class Plan:
    """The training clips of every step. Raises BadInput for a configuration that allows no clip."""

    frame_counts: tuple[int, ...]
    """Frames of each training video, in the order of the manifest, which is sorted by video_id."""
    data: DataConfig
    batch: int
    """Clips of a global batch, over all workers."""
    epochs: int
    seed: int
    labels: tuple[int, ...] = ()
    """Class of each training video; needed where `data.balanced`, and for `replacements`."""

    def __post_init__(self) -> None:
        clips.check(self.data)
        if not self.frame_counts:
            raise BadInput("There is no training video; check the data set's lists and the shares that are held out.")
        if self.batch < 1 or self.epochs < 1:
            raise BadInput(f"Batch and epochs must be at least 1; they are {self.batch} and {self.epochs}.")
        if self.seed < 0:
            raise BadInput(f"The seed must not be negative; it is {self.seed}.")
        if self.data.balanced and len(self.labels) != len(self.frame_counts):
            raise ValueError(f"{len(self.labels)} labels of {len(self.frame_counts)} videos cannot be balanced")

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch; the rest is dropped. With fewer videos than a batch, one that wraps around."""
        return max(1, len(self.frame_counts) // self.batch)

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.epochs * self.steps_per_epoch

    def rows(self, step: int) -> list[PlanRow]:
        """The global batch of a step, one row for each slot. Raises IndexError for a step not planned."""
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} of a plan of {self.steps} steps")
        return [self._clip(step, slot, self._video(step, slot)) for slot in range(self.batch)]

    def replacements(self, row: PlanRow) -> Iterator[PlanRow]:
        """Clips of the other videos of a row's class for its place, in an order fixed by seed, step and slot."""
        same = [video for video in np.flatnonzero(np.equal(self.labels, self.labels[row.video])) if video != row.video]
        for video in _rng(self.seed, REPLACEMENT, row.step, row.slot).permutation(same):
            yield self._clip(row.step, row.slot, int(video))

    def _video(self, step: int, slot: int) -> int:
        epoch, step_of_epoch = divmod(step, self.steps_per_epoch)
        if self.data.balanced:
            order = _balanced_order(self.labels, self.seed, epoch)
        else:
            order = _epoch_order(len(self.frame_counts), self.seed, epoch)
        return int(order[(step_of_epoch * self.batch + slot) % len(order)])

    def _clip(self, step: int, slot: int, video: int) -> PlanRow:
        data, total, rng = self.data, self.frame_counts[video], _rng(self.seed, CLIP, step, slot)
        start = clips.random_start(total, data.frames, data.stride, rng)
        return PlanRow(
            step=step,
            slot=slot,
            video=video,
            frames=tuple(clips.clip_indices(total, data.frames, data.stride, start)),
            x_px=int(rng.integers(0, data.width_px - data.crop_px + 1)),
            y_px=int(rng.integers(0, data.height_px - data.crop_px + 1)),
            flip=data.flip and bool(rng.random() < 0.5),
        )


def centre_rows(frame_counts: tuple[int, ...], data: DataConfig) -> list[PlanRow]:
    """The clip on which each video is validated and tested: central in time and space, never mirrored.

    Row i is video i. Nothing is random, so all rows stand in step 0, in the slot of their video.
    """
    clips.check(data)
    return [_centre_row(video, total, data) for video, total in enumerate(frame_counts)]


def shard(rows: list[T], rank: int, world: int) -> list[T]:
    """The part of worker `rank` among `world`: slots rank, rank + world, rank + 2 world, ..."""
    return rows[rank::world]


def _centre_row(video: int, total: int, data: DataConfig) -> PlanRow:
    start = clips.centre_start(total, data.frames, data.stride)
    return PlanRow(
        step=0,
        slot=video,
        video=video,
        frames=tuple(clips.clip_indices(total, data.frames, data.stride, start)),
        x_px=(data.width_px - data.crop_px) // 2,
        y_px=(data.height_px - data.crop_px) // 2,
        flip=False,
    )


@lru_cache(maxsize=4)
def _epoch_order(videos: int, seed: int, epoch: int) -> np.ndarray:
    return _rng(seed, EPOCH_ORDER, epoch).permutation(videos)


@lru_cache(maxsize=4)
def _balanced_order(labels: tuple[int, ...], seed: int, epoch: int) -> np.ndarray:
    """As many videos as there are labels: every class as often, and each of its videos as often, to within one."""
    rng = _rng(seed, BALANCED_ORDER, epoch)
    classes = rng.permutation(np.unique(labels))
    each, more = divmod(len(labels), len(classes))
    chosen = []
    for place, name in enumerate(classes):
        videos, count = np.flatnonzero(np.equal(labels, name)), each + (place < more)
        passes = [rng.permutation(videos) for _ in range(-(-count // len(videos)))]
        chosen.append(np.concatenate(passes)[:count])
    return rng.permutation(np.concatenate(chosen))


def _rng(*key: int) -> np.random.Generator:
    # Philox and SeedSequence are bound to their streams across numpy versions and machines.
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
