"""Ray Data turns the plan into clips: decoded, resized, cropped uint8 [T, crop, crop, 3], and nothing more.

A data set here is a range of integers; each task works out which clip an integer means and decodes just
those frames. So no pixels and no plan are stored, and a run resumes in the middle by starting the range there.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import ray.data
from ray.data import DataIterator, Dataset, ExecutionOptions, ExecutionResources
from ray.train import DataConfig as TrainDataConfig

from dtcm.config import DataConfig, Experiment
from dtcm.data.plan import Plan, centre_rows, shard
from dtcm.data.transforms import load_clip
from dtcm.step import total_epochs

CLIPS_PER_TASK = 32
"""Enough to hide what a task costs by itself (with 8, half of the throughput was lost), few enough to start quickly."""

CLIPS_AHEAD = 256
"""Decoded clips that may wait for their step: enough that no step waits, few enough that decoding does not take
the cores from training for minutes by running far ahead."""

Row = dict[str, Any]


class Video(NamedTuple):
    """What a task must know of a video."""

    path: str
    label: int
    frames: int


def subset(manifest: pa.Table, name: str) -> pa.Table:
    """The rows of one subset, sorted by video_id, which is the order that the plan counts in."""
    return manifest.filter(pc.field("subset") == name).sort_by("video_id")


def make_plan(manifest: pa.Table, experiment: Experiment) -> Plan:
    """The plan over the training part of a manifest."""
    videos = _videos(manifest, "train")
    frames, labels = tuple(video.frames for video in videos), tuple(video.label for video in videos)
    return Plan(frames, experiment.data, experiment.optim.batch, total_epochs(experiment), experiment.seed, labels)


def train_clips(manifest: pa.Table, experiment: Experiment, rank: int, world: int, start_step: int) -> Dataset:
    """The clips of one worker, in the order of the plan, from a step to the end of training.

    Rows: step, slot (place in the global batch), label, clip uint8 [T, crop, crop, 3].
    """
    plan = make_plan(manifest, experiment)
    load = partial(_step_clips, plan=plan, videos=_videos(manifest, "train"), rank=rank, world=world, start=start_step)
    slots = len(range(rank, plan.batch, world))
    return clip_range(plan.steps - start_step, slots, experiment.data).flat_map(load)


def centre_clips(manifest: pa.Table, experiment: Experiment, name: str, rank: int = 0, world: int = 1) -> Dataset:
    """The central clip of every video of a subset, each once: rows r, r + W, ... of the sorted subset.

    Rows: video (its place in the sorted subset), label, clip uint8 [T, crop, crop, 3].
    """
    videos = _videos(manifest, name)
    load = partial(_centre_clip, videos=videos, data=experiment.data, rank=rank, world=world)
    return clip_range(len(range(rank, len(videos), world)), 1, experiment.data).map(load)


class PlanShards(TrainDataConfig):
    """Gives every Train worker its own streams by the plan, also when workers restart.

    Ray Train calls `configure` each time it starts a group of workers, so the training stream begins
    at the step of the checkpoint that these workers will find.
    """

    def __init__(self, manifest: pa.Table, experiment: Experiment, next_step: Callable[[], int]) -> None:
        super().__init__()
        self.manifest = manifest
        self.experiment = experiment
        self.next_step = next_step

    def configure(
        self, datasets: dict[str, Dataset], world_size: int, *_: object, **__: object
    ) -> list[dict[str, DataIterator]]:
        """An iterator for each rank and each data set named, "train" or "val"."""
        return [{name: self._shard(name, rank, world_size) for name in datasets} for rank in range(world_size)]

    def _shard(self, name: str, rank: int, world: int) -> DataIterator:
        if name == "train":
            clips = train_clips(self.manifest, self.experiment, rank, world, self.next_step())
        else:
            clips = centre_clips(self.manifest, self.experiment, name, rank, world)
        # A split of one runs in an actor of its own, away from the training process.
        return clips.streaming_split(1)[0]


def clip_range(count: int, clips_each: int, data: DataConfig) -> Dataset:
    """Integers below `count` as rows of `id`, kept in order, in tasks of about CLIPS_PER_TASK clips."""
    numbers = ray.data.range(count, override_num_blocks=max(1, math.ceil(count * clips_each / CLIPS_PER_TASK)))
    ahead_bytes = CLIPS_AHEAD * data.frames * data.crop_px**2 * 3
    numbers.context.execution_options = ExecutionOptions(
        preserve_order=True, resource_limits=ExecutionResources(object_store_memory=ahead_bytes)
    )
    return numbers


def _videos(manifest: pa.Table, name: str) -> list[Video]:
    part = subset(manifest, name)
    columns = (part[column].to_pylist() for column in ("path", "label", "frames"))
    return [Video(*values) for values in zip(*columns, strict=True)]


def _step_clips(number: Row, plan: Plan, videos: list[Video], rank: int, world: int, start: int) -> list[Row]:
    return [
        {
            "step": row.step,
            "slot": row.slot,
            "label": videos[row.video].label,
            "clip": load_clip(videos[row.video].path, row, plan.data),
        }
        for row in shard(plan.rows(start + number["id"]), rank, world)
    ]


def _centre_clip(number: Row, videos: list[Video], data: DataConfig, rank: int, world: int) -> Row:
    place = rank + number["id"] * world
    video = videos[place]
    return {
        "video": place,
        "label": video.label,
        "clip": load_clip(video.path, centre_rows((video.frames,), data)[0], data),
    }
