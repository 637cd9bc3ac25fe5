"""Ray Data turns the plan into clips: decoded, resized, cropped uint8 [T, crop, crop, 3], and nothing more.

A data set here is a range of integers; each task works out which clip an integer means and decodes just
those frames. So no pixels and no plan are stored, and a run resumes in the middle by starting the range there.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data
from ray.data import DataIterator, Dataset, ExecutionOptions, ExecutionResources
from ray.train import DataConfig as TrainDataConfig

from components.unreadable import Unread, report
from dtcm.config import DataConfig, Experiment, total_epochs
from dtcm.data.clip_cache import ClipCache, cached_video
from dtcm.data.container import UnreadableVideo
from dtcm.data.files import is_uri
from dtcm.data.plan import Plan, PlanRow, centre_rows, shard
from dtcm.data.transforms import load_clip

CLIPS_PER_TASK = 32
"""Enough to hide what a task costs by itself (with 8, half of the throughput was lost), few enough to start quickly."""

CLIPS_AHEAD = 256
"""Decoded clips that may wait for their step: enough that no step waits, few enough that decoding does not take
the cores from training for minutes by running far ahead."""

STAND_INS = 8
"""Videos that are tried, one after the other, for a clip that cannot be read; where all fail, it is not the videos."""

Row = dict[str, Any]


class Video(NamedTuple):
    """What a task must know of a video."""

    video_id: str
    path: str
    label: int
    frames: int
    sha256: str


def subset(manifest: pa.Table, name: str) -> pa.Table:
    """The rows of one subset, sorted by video_id, which is the order that the plan counts in."""
    return manifest.filter(pc.field("subset") == name).sort_by("video_id")


def make_plan(manifest: pa.Table, experiment: Experiment) -> Plan:
    """The plan over the training part of a manifest."""
    videos = _videos(manifest, "train")
    frames, labels = tuple(video.frames for video in videos), tuple(video.label for video in videos)
    return Plan(frames, experiment.data, experiment.optim.batch, total_epochs(experiment), experiment.seed, labels)


def train_clips(
    manifest: pa.Table,
    experiment: Experiment,
    rank: int,
    world: int,
    start_step: int,
    log: Any = None,
    cache: ClipCache | None = None,
) -> Dataset:
    """The clips of one worker, in the order of the plan, from a step to the end of training.

    With a log (see `components.unreadable`), a clip that cannot be read is replaced; without, it is an error.

    Rows: step, slot (place in the global batch), label, clip uint8 [T, crop, crop, 3].
    """
    plan, videos = make_plan(manifest, experiment), _videos(manifest, "train")
    clip_of = partial(_step_clip, plan=plan, videos=videos, log=log, cache=cache)
    load = partial(_step_clips, plan=plan, rank=rank, world=world, start=start_step, clip_of=clip_of)
    slots = len(range(rank, plan.batch, world))
    return clip_range(plan.steps - start_step, slots, experiment.data).flat_map(load)


def centre_clips(
    manifest: pa.Table, experiment: Experiment, name: str, rank: int = 0, world: int = 1, log: Any = None
) -> Dataset:
    """The central clip of every video of a subset, each once: rows r, r + W, ... of the sorted subset.

    With a log (see `components.unreadable`), a clip that cannot be read is left out; without, it is an error.

    Rows: video (its place in the sorted subset), label, clip uint8 [T, crop, crop, 3].
    """
    videos = _videos(manifest, name)
    load = partial(_centre_clip, name=name, videos=videos, data=experiment.data, rank=rank, world=world, log=log)
    return clip_range(len(range(rank, len(videos), world)), 1, experiment.data).flat_map(load)


class PlanShards(TrainDataConfig):
    """Gives every Train worker its own streams by the plan, also when workers restart.

    Ray Train calls `configure` each time it starts a group of workers, so the training stream begins
    at the step of the checkpoint that these workers will find.
    """

    def __init__(
        self,
        manifest: pa.Table,
        experiment: Experiment,
        next_step: Callable[[], int],
        log: Any = None,
        cache: ClipCache | None = None,
    ) -> None:
        super().__init__()
        self.log, self.cache = log, cache
        self.manifest = manifest
        self.experiment = experiment
        self.next_step = next_step

    def configure(
        self, datasets: dict[str, Dataset], world_size: int, *_: object, **__: object
    ) -> list[dict[str, DataIterator]]:
        """An iterator for each rank and each data set named, "train" or "val"."""
        start = self.next_step() if "train" in datasets else 0
        for name in datasets if self.log is not None else ():
            ray.get(self.log.begin.remote(name, start))
        return [{name: self._shard(name, rank, world_size, start) for name in datasets} for rank in range(world_size)]

    def _shard(self, name: str, rank: int, world: int, start: int) -> DataIterator:
        if name == "train":
            clips = train_clips(self.manifest, self.experiment, rank, world, start, self.log, self.cache)
        else:
            clips = centre_clips(self.manifest, self.experiment, name, rank, world, self.log)
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
    columns = (part[column].to_pylist() for column in ("video_id", "path", "label", "frames", "sha256"))
    return [Video(*values) for values in zip(*columns, strict=True)]


def _step_clips(
    number: Row, plan: Plan, rank: int, world: int, start: int, clip_of: Callable[[PlanRow], Row]
) -> list[Row]:
    return [clip_of(row) for row in shard(plan.rows(start + number["id"]), rank, world)]


def _step_clip(row: PlanRow, plan: Plan, videos: list[Video], log: Any, cache: ClipCache | None) -> Row:
    """The clip of a row of the plan, or of its first replacement that can be read."""
    unread: list[tuple[Video, str]] = []
    for taken in islice(chain([row], plan.replacements(row)), 1 + STAND_INS):
        video = videos[taken.video]
        try:
            clip = _clip(video, taken, plan.data, cache)
        except (UnreadableVideo, OSError) as error:
            unread.append((video, _reason(error, video, log)))
            continue
        if unread:
            report(log, [_unread("train", row.step + 1, row.slot, *each, video.video_id) for each in unread])
        return {"step": row.step, "slot": row.slot, "label": video.label, "clip": clip}
    report(log, [_unread("train", row.step + 1, row.slot, *each, "") for each in unread])
    raise AssertionError("a clip that nothing can stand in for ends the training")


def _clip(video: Video, row: PlanRow, data: DataConfig, cache: ClipCache | None) -> np.ndarray:
    whole_THWC = cached_video(cache, video.path, video.sha256, video.frames, data) if cache else None
    return load_clip(video.path, row, data, whole_THWC)


def _centre_clip(
    number: Row, name: str, videos: list[Video], data: DataConfig, rank: int, world: int, log: Any
) -> list[Row]:
    place = rank + number["id"] * world
    video = videos[place]
    try:
        clip = load_clip(video.path, centre_rows((video.frames,), data)[0], data)
    except (UnreadableVideo, OSError) as error:
        report(log, [_unread(name, 0, place, video, _reason(error, video, log), "")])
        return []
    return [{"video": place, "label": video.label, "clip": clip}]


def _reason(error: UnreadableVideo | OSError, video: Video, log: Any) -> str:
    """Why a video cannot be read. Raises the error itself where that says nothing about the video."""
    if log is None or (is_uri(video.path) and not isinstance(error, UnreadableVideo)):
        raise error  # a store that cannot be reached has been asked again for long enough
    return error.reason if isinstance(error, UnreadableVideo) else str(error)


def _unread(subset: str, step: int, slot: int, video: Video, reason: str, replaced_by: str) -> Unread:
    return Unread(subset, step, slot, video.video_id, video.path, reason, replaced_by)
