"""A folder of class folders: root/<class>/<video>. Also the one place that looks which videos exist."""

import os
import re
from pathlib import Path, PurePosixPath

from dtcm.data.records import VideoRecord
from dtcm.errors import BadInput

VIDEO_SUFFIXES = frozenset({".avi", ".mp4", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".gif"})


def load(root: Path) -> list[VideoRecord]:
    """Every video directly in a class folder; classes are numbered in the order of their names.

    Raises BadInput if there is none. A single class is allowed, for prediction.
    """
    videos = [video for video in list_videos(root) if video.count("/") == 1]
    if not videos:
        raise BadInput(
            f"{root} is no data set: it has neither ARID's lists, nor list.txt with mapping_table.txt, "
            "nor class folders with videos; let data.root name a folder that does."
        )
    names = sorted({class_of(video) for video in videos})
    labels = {name: label for label, name in enumerate(names)}
    return [
        VideoRecord(
            video_id=video,
            path=str(root / video),
            label=labels[class_of(video)],
            class_name=class_of(video),
            group=group_of(video),
        )
        for video in videos
    ]


def list_videos(root: Path) -> list[str]:
    """Paths of all videos below `root`, relative to it, with "/", sorted."""
    return sorted(
        (Path(folder) / file).relative_to(root).as_posix()
        for folder, _, files in os.walk(root, followlinks=True)
        for file in files
        if Path(file).suffix.lower() in VIDEO_SUFFIXES and not file.startswith(".")
    )


def class_of(video_id: str) -> str:
    """The folder in which a video lies: "Drink" for "Drink/Drink_10_1.avi", else empty."""
    return PurePosixPath(video_id).parent.name


def group_of(video_id: str) -> str:
    """The group "Drink_10" for "Drink/Drink_10_1.avi", ARID's Class_group_index; empty for other names.

    ARID numbers its groups within a class: 10 of Drink and 10 of Jump are unrelated.
    """
    match = re.fullmatch(rf"({re.escape(class_of(video_id))}_\d+)_\d+", PurePosixPath(video_id).stem)
    return match[1] if match else ""
