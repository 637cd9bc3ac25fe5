"""Dark-48's lists (Tu et al., 2023): dark48_{train,test}_split{1,2,3}.txt, "path class-id", and its class names.

Its videos were cut from Kinetics-700 and Moments in Time, whose file names tell the video that a clip was
cut from; `source_of` reads it, because some of these videos lie on both sides of the official splits.
"""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from dtcm.data.datasets.lists import Lists, read_classes, read_list, require, to_records
from dtcm.data.records import Subset, VideoRecord

LIST = "dark48_{subset}_split{split}.txt"
CLASSES = "dark48_classInd.txt"
SITES = ("bing", "flickr", "getty", "giphy", "meta", "peeks", "vb", "vine", "wc", "yt")
"""Where Moments in Time found its videos, as the names of its clips begin."""
SUBSETS: Sequence[Subset] = ("train", "test")


def lies_in(lists: Lists) -> bool:
    """Whether any of the lists is there."""
    return any(re.fullmatch(r"dark48_(train|test)_split[0-9]+\.txt", name) for name in lists.names)


def read(lists: Lists, split: int) -> list[VideoRecord]:
    """The listed videos of a split, with the videos that they were cut from. Raises BadInput."""
    files = {subset: LIST.format(subset=subset, split=split) for subset in SUBSETS}
    require(lists, list(files.values()))
    classes = read_classes(lists, [CLASSES])
    records = to_records({subset: read_list(lists.place(name), classes) for subset, name in files.items()}, classes)
    return [dataclasses.replace(record, group="", source=source_of(record.video_id)) for record in records]


def source_of(video_id: str) -> str:
    """The video that a clip was cut from, by the clip's file name; empty if the name does not tell.

    Kinetics names a clip id_start_end, with six digits each; Moments in Time puts the clip's number behind
    the last "_". Names are taken literally: so 138 of the 1763 test clips of Dark-48's split 1 have a source in
    training; see `video_of`.
    """
    name = PurePosixPath(video_id).stem
    match = re.fullmatch(r"(.+)_\d{6}_\d{6}", name) or re.fullmatch(r"(.+)_\d+", name)
    return match[1] if match else ""


def video_of(source: str) -> str:
    """A source without Moments in Time's marks of where it is from, so that one video has one name.

    yt-ID is the YouTube video that Kinetics names ID, and getty_R-... is getty-... in the opposite class
    (ascending for descending), as if run backwards. So 177 of the 1763 test clips share a video with training.
    """
    return re.sub(rf"^({'|'.join(SITES)})(_R)?-", "", source)
