"""What a built set consists of: lists in Dark-48's form, its videos, Table II and Fig. 5, and the whole selection."""

import csv
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dtcm.data.dark48_build import POOL, SPLITS, chosen_of
from dtcm.data.datasets.dark48 import CLASSES, LIST, SUBSETS
from dtcm.data.files import is_uri, read_bytes, read_table
from dtcm.errors import BadInput

CLIPS = "clips"
"""Folder of the chosen videos, class by class, beside the lists."""


def read_pool(place: str) -> pa.Table:
    """The POOL columns of a manifest. Raises BadInput for a file that is none."""
    try:
        table = read_table(place)
        return table.select(POOL.names).cast(POOL)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise BadInput(f"{place} is no manifest of an index; make one with index_videos.py ({error}).") from error


def write(selection: pa.Table, folder: Path, seed: int, figure: bytes) -> None:
    """Write the set into a folder, from which recipe dark48 trains; `figure` is its Fig. 5.

    Raises BadInput for a video that is gone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    gather(selection, folder / CLIPS)
    table = table_ii(selection, folder.name)
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(table)
    for name, content in {
        **lists(selection, seed),
        "table2.md": markdown(table),
        "table2.csv": text.getvalue(),
    }.items():
        (folder / name).write_text(content, encoding="utf-8", newline="")
    (folder / "fig5.png").write_bytes(figure)
    pq.write_table(selection, folder / "selection.parquet")


def lists(selection: pa.Table, seed: int) -> dict[str, str]:
    """Dark-48's files by name: class names, and a train and a test list of each split, shuffled as the public ones.

    `selection` is that of `three_splits`.
    """
    rows = chosen_of(selection).to_pylist()
    names = sorted({(row["label"], row["class_name"]) for row in rows})
    files = {CLASSES: "\n".join(f"{label}\t{name}" for label, name in names)}
    for split in SPLITS:
        order = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, split)))).permutation(len(rows))
        for subset in SUBSETS:
            listed = (rows[i] for i in order if rows[i][f"split{split}"] == subset)
            files[LIST.format(subset=subset, split=split)] = "\n".join(
                f"{row['name']} {row['label']}" for row in listed
            )
    return files


def gather(selection: pa.Table, folder: Path) -> None:
    """Bring the chosen videos to folder/<class>/<file>: links to those of this machine, copies of those in S3."""
    for row in chosen_of(selection).select(["name", "path"]).to_pylist():
        target = folder / row["name"]
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if is_uri(row["path"]):
                _copy(row["path"], target)
            else:
                target.unlink(missing_ok=True)
                target.symlink_to(Path(row["path"]).resolve(strict=True))
        except FileNotFoundError as error:
            raise BadInput(f"{row['path']} is gone since its pool was indexed; index the pool again.") from error


def table_ii(selection: pa.Table, name: str) -> list[list[str]]:
    """Table II with a line for this set. No pool says in which scene a video was shot, but its source is known."""
    rows = chosen_of(selection)
    actions, sources = (str(len(rows[column].unique())) for column in ("label", "source"))
    return [
        ["Data set", "Actions", "Scenes", "Source videos", "Total"],
        ["ARID (paper)", "11", "18", "", "3784"],
        ["Dark-48 (paper)", "48", "≥ 40", "", "8815"],
        [name, actions, "not labelled", sources, str(rows.num_rows)],
    ]


def markdown(table: list[list[str]]) -> str:
    """A table, its first row the header, as Markdown."""
    lines = [f"| {' | '.join(row)} |" for row in table]
    return "\n".join([lines[0], "|" + " --- |" * len(table[0]), *lines[1:]]) + "\n"


def bars(selection: pa.Table, split: int = 1) -> dict[str, tuple[int, int]]:
    """Training and test clips of each class, by name, as Fig. 5 shows them."""
    rows = chosen_of(selection)
    counts = Counter(zip(*(rows[name].to_pylist() for name in ("class_name", f"split{split}")), strict=True))
    return {name: (counts[name, "train"], counts[name, "test"]) for name in sorted({name for name, _ in counts})}


def _copy(uri: str, target: Path) -> None:
    """Copy a file once; what an interrupted copy leaves is not taken for the file."""
    if not target.is_file():
        part = target.with_name(f"{target.name}.part")
        part.write_bytes(read_bytes(uri))
        part.replace(target)
