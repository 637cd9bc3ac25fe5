"""A folder of class folders: root/<class>/<video>; and what the name of a file tells of its class and group."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from dtcm.data.records import VideoRecord
from dtcm.errors import BadInput

VIDEO_SUFFIXES = frozenset({".avi", ".mp4", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".gif"})


def read(videos: Sequence[str], root: str) -> list[VideoRecord]:
    """Every video directly in a class folder; classes are numbered in the order of their names.

    Raises BadInput if there is none. A single class is allowed, for prediction.
    """
    videos = [video for video in videos if video.count("/") == 1]
    if not videos:
        raise BadInput(
            f"{root} is no data set: it has neither ARID's nor Dark-48's lists, nor list.txt with mapping_table.txt, "
            "nor UAV-Human's files, nor class folders with videos; let data.root name a folder that does, or "
            "data.lists a table of the videos."
        )
    names = sorted({class_of(video) for video in videos})
    labels = {name: label for label, name in enumerate(names)}
    return [VideoRecord(video, video, labels[class_of(video)], class_of(video), group_of(video)) for video in videos]


def class_of(video_id: str) -> str:
    """The folder in which a video lies: "Drink" for "Drink/Drink_10_1.avi", else empty."""
    return PurePosixPath(video_id).parent.name


def group_of(video_id: str) -> str:
    """The group "Drink_10" for "Drink/Drink_10_1.avi", ARID's Class_group_index; empty for other names.

    ARID numbers its groups within a class: 10 of Drink and 10 of Jump are unrelated.
    """
    match = re.fullmatch(rf"({re.escape(class_of(video_id))}_\d+)_\d+", PurePosixPath(video_id).stem)
    return match[1] if match else ""
