"""Videos that became unreadable after they were indexed: written down, counted, and bounded (docs/faults.md).

A training clip that cannot be read gives way to one of another video of its class (`Plan.replacements`), so a batch
keeps its size and a label its meaning; a validation clip is left out. Each is a line of unreadable.jsonl in the run
folder. Decoding tasks anywhere on the cluster find them, one actor writes them.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import ray

from components.settings import Settings
from components.storage import Folder
from dtcm.errors import BadInput

UNREADABLE = "unreadable.jsonl"


class Unread(NamedTuple):
    """A clip that could not be read: a line of unreadable.jsonl."""

    subset: str
    """train or val."""
    step: int
    """Step whose batch it belongs to, from 1 as in metrics.jsonl; 0 for validation."""
    slot: int
    """Place in the global batch; for validation, of the video in its subset."""
    video_id: str
    path: str
    reason: str
    replaced_by: str
    """video_id of the video from which a clip was taken instead; empty where none was."""


class Log:
    """The one writer of a run's unreadable.jsonl, an actor; an actor that is lost begins again with the file."""

    def __init__(self, folder: Folder, allowed: int) -> None:
        self.folder, self.allowed, self.problem = folder, allowed, ""
        self.clips = {_place(clip): clip for clip in read(folder)}

    def begin(self, subset: str, step: int) -> None:
        """Forget what is about to be read again: validation clips, or those of training beyond a step."""
        self._keep(c for c in self.clips.values() if c.subset != subset or (subset == "train" and c.step <= step))

    def add(self, clips: Sequence[Unread]) -> bool:
        """Write down clips; whether training can go on."""
        self._keep([*self.clips.values(), *clips])
        return not self.problem and not _too_many(self.clips.values(), self.allowed)

    def what(self) -> str:
        """Why nothing can be written down, as on a full disk; empty where it can."""
        return self.problem

    def _keep(self, clips: Iterable[Unread]) -> None:
        kept = {_place(clip): clip for clip in clips}
        if kept == self.clips:
            return
        lines = (json.dumps(kept[place]._asdict()) + "\n" for place in sorted(kept))
        try:
            self.folder.write(UNREADABLE, "".join(lines).encode())
            self.clips, self.problem = kept, ""
        except BadInput as error:  # raised here, it would be a traceback by the time that it reaches the driver
            self.problem = str(error)


def open_log(folder: Folder, manifest: pa.Table, settings: Settings) -> Any:
    """The actor that writes a run's unreadable.jsonl; it lives as long as somebody holds it."""
    actor: Any = ray.remote(Log).options(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    return actor.remote(folder, _budget(manifest, settings)[0])


def report(log: Any, clips: Sequence[Unread]) -> None:
    """Write down clips from wherever this is. Raises BadInput where training cannot go on."""
    if not ray.get(log.add.remote(clips)):
        raise BadInput(f"{clips[0].path} cannot be read, and no more such videos are allowed ({clips[0].reason}).")


def check_budget(log: Any, folder: Folder, manifest: pa.Table, settings: Settings) -> None:
    """Raise BadInput, with the first videos by name, if more of them became unreadable than the settings allow, and
    where the log cannot be written."""
    if problem := ray.get(log.what.remote()):
        raise BadInput(problem)
    clips, (allowed, total) = read(folder), _budget(manifest, settings)
    if not _too_many(clips, allowed):
        return
    reasons = {clip.video_id: clip.reason for clip in clips}
    first = "; ".join(f"{video_id}: {reason}" for video_id, reason in list(reasons.items())[:3])
    raise BadInput(
        f"Training stopped: {len(reasons)} of {total} videos can no longer be read ({first}), more than {allowed} or "
        f"all of a class; put the files back ({folder.uri}/{UNREADABLE} names all) and run the same command again, "
        "or allow the share with --settings.max-unreadable-share."
    )


def read(folder: Folder) -> list[Unread]:
    """The clips of a run that could not be read, by step and slot."""
    if not folder.has(UNREADABLE):
        return []
    return [Unread(**json.loads(line)) for line in folder.read(UNREADABLE).splitlines()]


def counts(folder: Folder) -> dict[str, int]:
    """How many videos of a run became unreadable, and how many clips others were taken for."""
    clips = read(folder)
    replaced = {(clip.step, clip.slot) for clip in clips if clip.subset == "train"}
    return {"unreadable_videos": len({clip.video_id for clip in clips}), "replaced_clips": len(replaced)}


def note(folder: Folder) -> str:
    """The counts in words, empty where there is nothing to say."""
    videos, clips = counts(folder).values()
    return f"{videos} unreadable videos, {clips} clips replaced" if videos else ""


def _budget(manifest: pa.Table, settings: Settings) -> tuple[int, int]:
    """How many videos may become unreadable, of how many."""
    total = sum(name in ("train", "val") for name in manifest["subset"].to_pylist())
    return int(settings.max_unreadable_share * total), total


def _too_many(clips: Iterable[Unread], allowed: int) -> bool:
    clips = list(clips)
    alone = any(clip.subset == "train" and not clip.replaced_by for clip in clips)
    return alone or len({clip.video_id for clip in clips}) > allowed


def _place(clip: Unread) -> tuple[str, int, int, str]:
    return clip.subset, clip.step, clip.slot, clip.video_id
