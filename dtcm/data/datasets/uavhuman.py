"""UAV-Human (Li et al., 2021), whose file names carry everything: P070S01G10B00H10UC102000LC092000A031R0_09131758.avi.

That is person 70, setup 1, gender, backpack, hat, upper and lower clothes, action 31, replicate 0, and month,
day, hour and minute. Clips of two persons double the digits of G, B and H. The splits are by person.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from dtcm.data.records import VideoRecord
from dtcm.errors import BadInput

PERSONS, ACTIONS = 119, 155
MAPPING_TABLE = "mapping_table.txt"
NAME = re.compile(r"P(\d{3})S(\d{2})G\d+B\d+H\d+UC\d+LC\d+A(\d{3})R(\d+)_(\d{8})", re.ASCII)


class Clip(NamedTuple):
    """What a file name tells."""

    person: int
    """0 to 118."""
    setup: int
    action: int
    """0 to 154."""
    replicate: int
    time: str
    """Month, day, hour and minute."""


def _numbers(text: str) -> frozenset[int]:
    """The numbers of "0, 2, 5-8"."""
    spans = (part.partition("-") for part in text.split(","))
    return frozenset(number for first, _, last in spans for number in range(int(first), int(last or first) + 1))


TRAIN_PERSONS = {
    1: _numbers(
        "0, 2, 5-8, 10-21, 25-30, 32-40, 42-53, 55-57, 59, 61-65, 67-71, 73, 76-90, 98, 100, 102, 103, 105, 106, "
        "110-112, 114-118"
    ),
    2: _numbers(
        "0, 3-6, 8, 10-12, 14, 16, 18-22, 24, 26, 29-32, 35-40, 43-47, 49, 52, 54, 56, 57, 59-64, 66, 67, 69-75, "
        "77-81, 83, 84, 86-89, 91-97, 99-104, 106-115, 117, 118"
    ),
}
"""Persons of the training part of cross-subject v1 (split 1, the paper's) and v2 (split 2); all others test."""


def parse(video_id: str) -> Clip | None:
    """What a file's name tells; None for a name that is not UAV-Human's."""
    match = NAME.fullmatch(PurePosixPath(video_id).stem)
    clip = Clip(int(match[1]), int(match[2]), int(match[3]), int(match[4]), match[5]) if match else None
    return clip if clip and clip.person < PERSONS and clip.action < ACTIONS else None


def lies_in(videos: Sequence[str]) -> bool:
    """Whether most of the videos bear UAV-Human's names."""
    return 2 * sum(parse(video) is not None for video in videos) > len(videos)


def read(videos: Sequence[str], root: str, split: int, classes: Sequence[str] | None = None) -> list[VideoRecord]:
    """Every video, with its person as its group and the subset that its person belongs to.

    Classes are called A000 to A154 unless a mapping table gave them names. Raises BadInput for a name that
    is not UAV-Human's, and for one that lies in two folders, as it does where several cameras' videos lie there.
    """
    if split not in TRAIN_PERSONS:
        raise BadInput(f"UAV-Human has the splits 1 and 2 (cross-subject v1 and v2), and split {split} is asked for.")
    if not videos:
        raise BadInput(f"{root} holds no video; let data.root name the folder of UAV-Human's fisheye videos.")
    if classes is not None and len(classes) != ACTIONS:
        raise BadInput(
            f"UAV-Human has {ACTIONS} actions, and the mapping table {len(classes)}; give it a line for each."
        )
    clips = {video: parse(video) for video in videos}
    _check(clips, root)
    names = classes or [f"A{action:03d}" for action in range(ACTIONS)]
    return [_record(video, clip, names, TRAIN_PERSONS[split]) for video, clip in clips.items() if clip]


def absent(videos: Sequence[str], split: int) -> str:
    """A sentence on persons and actions without a clip, as in a download of a part; empty if all are there."""
    clips = [clip for video in videos if (clip := parse(video))]
    persons = sorted(set(range(PERSONS)) - {clip.person for clip in clips})
    actions = sorted(set(range(ACTIONS)) - {clip.action for clip in clips})
    train = sum(person in TRAIN_PERSONS[split] for person in persons)
    parts = []
    if persons:
        parts.append(f"{len(persons)} of {PERSONS} persons ({train} for training, {len(persons) - train} for testing)")
    if actions:
        named = ", ".join(f"A{action:03d}" for action in actions[:5]) + (", ..." if len(actions) > 5 else "")
        parts.append(f"{len(actions)} of {ACTIONS} actions ({named})")
    return f"There is no clip of {' and of '.join(parts)}." if parts else ""


def _record(video: str, clip: Clip, names: Sequence[str], train: Collection[int]) -> VideoRecord:
    subset = "train" if clip.person in train else "test"
    return VideoRecord(video, video, clip.action, names[clip.action], f"P{clip.person:03d}", subset)


def _check(clips: dict[str, Clip | None], root: str) -> None:
    if strange := [video for video, clip in clips.items() if clip is None]:
        raise BadInput(
            f"{len(strange)} of {len(clips)} videos under {root} are not named as UAV-Human names its own, such as "
            f"{', '.join(strange[:3])}; move them elsewhere, or let data.root name another folder."
        )
    by_name: dict[str, list[str]] = defaultdict(list)
    for video in clips:
        by_name[PurePosixPath(video).stem].append(video)
    if twice := [videos for videos in by_name.values() if len(videos) > 1]:
        raise BadInput(
            f"{len(twice)} clips lie under {root} more than once, such as {' and '.join(twice[0][:2])}; "
            "let data.root name the folder of a single camera."
        )
