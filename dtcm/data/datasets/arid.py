"""ARID's lists, as they are public.

ARID v1.0 (Xu et al., 2021): ARID_split{1,2,3}_{train,test,other}.txt. ARID v1.5 as released for the UG2+
challenge: ARID1.1_t1_{train,test}_pub.csv, one split, of six of the eleven classes (5 to 10, Run to Wave);
its test videos have numbers for names, so their groups are unknown.
"""

import re
from typing import get_args

from dtcm.data.datasets.lists import Lists, read_classes, read_list, require, to_records
from dtcm.data.records import Subset, VideoRecord
from dtcm.errors import BadInput

V10_LIST = "ARID_split{split}_{subset}.txt"
V15_LIST = "ARID1.1_t1_{subset}_pub.csv"
MAPPING_TABLES = ("ARID_mapping_table.txt", "mapping_table.txt")


def has_v10(lists: Lists) -> bool:
    """Whether any list of ARID v1.0 is there."""
    return any(re.fullmatch(r"ARID_split[0-9]+_(train|test|other)\.txt", name) for name in lists.names)


def has_v15(lists: Lists) -> bool:
    """Whether any list of ARID v1.5 is there."""
    return any(re.fullmatch(r"ARID1\.1_t1_(train|test)_pub\.csv", name) for name in lists.names)


def read_v10(lists: Lists, split: int) -> list[VideoRecord]:
    """The listed videos of a split of v1.0; the list "other", which shares groups with "test", may be absent.

    Raises BadInput.
    """
    files = {subset: V10_LIST.format(split=split, subset=subset) for subset in get_args(Subset)}
    return _read(lists, {subset: file for subset, file in files.items() if file in lists.names}, files)


def read_v15(lists: Lists, split: int) -> list[VideoRecord]:
    """The listed videos of v1.5. Raises BadInput."""
    if split != 1:
        raise BadInput(f"ARID v1.5 has one split, and split {split} is asked for; leave data.split at 1.")
    files: dict[Subset, str] = {subset: V15_LIST.format(subset=subset) for subset in ("train", "test")}
    return _read(lists, files, files)


def _read(lists: Lists, files: dict[Subset, str], official: dict[Subset, str]) -> list[VideoRecord]:
    require(lists, [official["train"], official["test"]])
    classes = read_classes(lists, MAPPING_TABLES)
    return to_records({subset: read_list(lists.place(file), classes) for subset, file in files.items()}, classes)
