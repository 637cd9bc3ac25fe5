"""Data sets as records: `load` finds out which format lies in a folder.

Official ARID lists come first, then a single list with a mapping table beside it, then a folder of
class folders. Only the lists and the names of the files are read, no video.
"""

from collections.abc import Iterable
from pathlib import Path

from dtcm.config import DataConfig
from dtcm.data.datasets import arid, folder
from dtcm.data.records import VideoRecord
from dtcm.errors import BadInput


def load(data: DataConfig) -> list[VideoRecord]:
    """The records of the data set under `data.root`, sorted by video_id.

    `data.lists` names the folder of the lists; else they are sought in root/lists, then in root. Raises
    BadInput for a folder without a data set, a malformed list, and listed videos that are missing.
    """
    root = Path(data.root).expanduser()
    if not data.root or not root.is_dir():
        raise BadInput(f"There is no folder {data.root!r}; let data.root name the folder of the videos.")
    lists = lists_folder(data, root)
    if arid.has_split_lists(lists):
        records = arid.load_splits(root, lists, data.split)
    elif arid.has_single_list(lists):
        records = arid.load_single_list(root, lists)
    elif data.lists:
        raise BadInput(f"{lists} has none of the known lists; let data.lists name their folder, or leave it empty.")
    else:
        records = folder.load(root)
    return sorted(records, key=lambda record: record.video_id)


def classes(records: Iterable[VideoRecord]) -> list[str]:
    """Class names by label. A label that no record has is called "class <label>"."""
    names = {record.label: record.class_name for record in records}
    return [names.get(label, f"class {label}") for label in range(max(names, default=-1) + 1)]


def lists_folder(data: DataConfig, root: Path) -> Path:
    """The folder in which the data set's lists are sought. Raises BadInput if `data.lists` is no folder."""
    if not data.lists:
        return root / "lists" if (root / "lists").is_dir() else root
    if not Path(data.lists).expanduser().is_dir():
        raise BadInput(f"There is no folder {data.lists!r}; let data.lists name the folder of the list files.")
    return Path(data.lists).expanduser()
