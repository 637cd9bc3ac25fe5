"""Which videos lie under a root, on disk or in S3, and where each listed one is among them.

Videos lie in root/clips, or root/clips_v*, or root; those of a train or test list also in its folder
"train" or "test". Lists say .avi where many copies hold .mp4: the suffix may differ.
"""

import dataclasses
from collections.abc import Callable, Collection, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dtcm.data.datasets.folder import VIDEO_SUFFIXES
from dtcm.data.datasets.lists import names_in, parent
from dtcm.data.files import absolute, is_folder, is_uri, join, list_files
from dtcm.data.records import VideoRecord
from dtcm.errors import BadInput


class Listing(NamedTuple):
    """What lies under a root, from one listing of it."""

    root: str
    """Absolute path or URI."""
    names: tuple[str, ...]
    """All files below the root, sorted."""
    folder: str
    """Where the videos lie: root/clips, else the first root/clips_v*, else root."""
    videos: tuple[str, ...]
    """The videos, by their paths below `folder`, sorted."""


def look(root: str) -> Listing:
    """What lies under a root. Raises BadInput if there is no such folder."""
    if not root or not is_folder(root):
        raise BadInput(f"There is no folder {root!r}; let data.root name the folder of the videos.")
    root = absolute(root)
    names = tuple(file.name for file in list_files(root))
    folders = {name.partition("/")[0] for name in names if "/" in name}
    inside = ["clips"] if "clips" in folders else sorted(name for name in folders if name.startswith("clips_v"))
    prefix = f"{inside[0]}/" if inside else ""
    videos = (name.removeprefix(prefix) for name in names if name.startswith(prefix) and is_video(name))
    return Listing(root, names, join(root, inside[0]) if inside else root, tuple(sorted(videos)))


def is_video(name: str) -> bool:
    """Whether a file is named as videos are."""
    return PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES


def locate(records: Sequence[VideoRecord], listing: Listing) -> tuple[list[VideoRecord], list[VideoRecord]]:
    """The listed videos that are there, under the names that they have there, and those that are missing.

    Raises BadInput for a video that is listed twice.
    """
    find = _finder(records, listing)
    found: dict[str, VideoRecord] = {}
    missing = []
    for record in records:
        video = find(record)
        if video is None:
            missing.append(record)
        elif video in found:
            subsets = f"{found[video].subset} and {record.subset}"
            raise BadInput(f"{record.path} is listed twice, under {subsets}; list it once.")
        else:
            place = video if is_elsewhere(video) else join(listing.folder, video)
            found[video] = dataclasses.replace(record, video_id=video, path=place)
    return list(found.values()), missing


def is_elsewhere(path: str) -> bool:
    """Whether a path does not depend on a root: an absolute one, or a URI."""
    return is_uri(path) or PurePosixPath(path).is_absolute()


def _finder(records: Sequence[VideoRecord], listing: Listing) -> Callable[[VideoRecord], str | None]:
    """What tells under which name a record's video lies there, if it does."""
    by_name = {_stem(video): video for video in listing.videos} | {video: video for video in listing.videos}
    remote = _remote({record.path for record in records if is_uri(record.path)})

    def find(record: VideoRecord) -> str | None:
        path = record.path.removeprefix(join(listing.folder, ""))
        if is_elsewhere(path):
            return path if path in remote or (not is_uri(path) and Path(path).is_file()) else None
        candidates = (path, _stem(path), f"{record.subset}/{path}", f"{record.subset}/{_stem(path)}")
        return next((by_name[name] for name in candidates if name in by_name), None)

    return find


def _remote(uris: Collection[str]) -> set[str]:
    """Those of the URIs that exist, by one listing of each folder that they name."""
    folders = {parent(uri)[0] for uri in uris}
    return {join(folder, name) for folder in folders if is_folder(folder) for name in names_in(folder)}


def _stem(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))
