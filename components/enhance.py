"""Whole videos as a model brightens them, written as H.264 by actors of Ray Data, to disk or S3."""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import ray
import ray.data
from ray.data import ActorPoolStrategy

from components.audit import key
from components.storage import Folder
from dtcm.bundle import bundle_from_files
from dtcm.data.decode import UnreadableVideo
from dtcm.data.files import is_uri, read_bytes
from dtcm.enhanced_video import write_enhanced
from dtcm.errors import BadInput

Row = dict[str, Any]


def enhance_missing(
    good: list[Row], files: dict[str, bytes], to: Folder, journal: Folder, workers: int, gpus: float
) -> tuple[int, list[Row]]:
    """Write the brightened videos that are not there, each by one worker.

    Returns how many, and the rows of videos of which none can be written, with kind and reason.

    Args:
        good: video_id, path, bytes and modified_s of videos that can be read.
        files: the bundle of the model.
        to: where they go, under their video_id.
        journal: folder of this model, in which it is noted what was written.
        workers: actors, each with a model.
        gpus: that each reserves; 0 for a CPU.

    Raises BadInput if two videos would be written to one file.
    """
    targets = [_target(row["video_id"]) for row in good]
    if len(set(targets)) < len(targets):
        raise BadInput("Several videos would be written to one file; name one source at a time, or other folders.")
    marks = {row["path"]: "enhanced-" + hashlib.sha256(repr(key(row)).encode()).hexdigest()[:16] for row in good}
    written = set(journal.names())
    todo = [
        {"path": row["path"], "target": target}
        for row, target in zip(good, targets, strict=True)
        if marks[row["path"]] not in written or not to.has(target)
    ]
    if not todo:
        return 0, []
    needs: dict[str, Any] = {"num_gpus": gpus} if gpus else {"num_cpus": 1}
    enhancer: Any = _Enhancer  # a class whose objects Ray Data calls
    jobs = ray.data.from_items(todo, override_num_blocks=len(todo)).map(
        enhancer,
        compute=ActorPoolStrategy(size=workers),
        fn_constructor_args=(ray.put(files), to),
        **needs,
    )
    of_path, failed = {row["path"]: row for row in good}, []
    for job in jobs.iter_rows():
        if job["error"]:
            failed.append(of_path[job["path"]] | {"kind": "not-enhanced", "reason": job["error"]})
        else:
            journal.write(marks[job["path"]], b"")
    return len(todo) - len(failed), failed


class _Enhancer:
    """The model's enhancer in an actor of Ray Data's."""

    def __init__(self, files: ray.ObjectRef, to: Folder) -> None:
        self.model = bundle_from_files(ray.get(files), "cuda" if ray.get_gpu_ids() else "cpu").model
        self.to = to

    def __call__(self, job: Row) -> Row:
        with tempfile.TemporaryDirectory() as scratch:
            draft = Path(scratch) / "enhanced.mp4"
            try:
                source = read_bytes(job["path"]) if is_uri(job["path"]) else job["path"]
                write_enhanced(self.model, source, draft)
            except (UnreadableVideo, OSError) as problem:  # OSError: of the store, the disk or the encoder
                return {"path": job["path"], "error": f"it cannot be written brightened ({problem})"}
            self.to.write(job["target"], draft.read_bytes())
        return {"path": job["path"], "error": ""}


def _target(video_id: str) -> str:
    return video_id if video_id.lower().endswith(".mp4") else f"{video_id}.mp4"
