"""Does a run again from what it recorded, and compares: equal, or where they part.

The commit that the run recorded is checked out beside this tree and trains in a process of its own, so that the code of
then runs, on inputs whose hashes are those of then.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from components.execution import FILE as EXECUTION
from components.runs import environment, manifest_sha256
from components.state import INITIAL
from components.storage import Folder, folder_at
from dtcm.data.files import read_bytes, split_options
from dtcm.errors import BadInput

ROOT = Path(__file__).parents[1]
AGAIN = """
import sys
from itertools import count
from pathlib import Path
from components.settings import Settings
from components.storage import Folder
from components.workflow import train_test_register
from dtcm.config import from_json
given, storage, name, workers = Path(sys.argv[1]), *sys.argv[2:]
experiment = from_json((given / "config.json").read_text())
parent = Folder(storage) / experiment.data.name / f"split{experiment.data.split}"
names = (name + (f"-{number}" if number > 1 else "") for number in count(1))
name = next(name for name in names if not (parent / name).has("result.json"))
for file in ("execution.json", "initial.safetensors"):
    if (given / file).exists() and not (parent / name).has(file):
        (parent / name).write(file, (given / file).read_bytes())
result = train_test_register(experiment, Settings(storage=storage, run=name, workers=int(workers)))
(given / "result").write_text(result.run.folder.uri)
"""
"""Run by the code of then, in a run folder that begins with what the run of then began with."""


class Comparison(NamedTuple):
    """How two runs of one experiment compare."""

    steps: int
    parts_at: int | None
    """First step whose losses differ; None if none does."""
    largest: float
    """Largest relative difference of the total loss."""
    logits: float
    """Largest absolute difference of a test clip's logits."""
    other_predictions: int
    """Test clips that are predicted as another class."""

    @property
    def equal(self) -> bool:
        """Whether curve and predictions are the same to the last bit."""
        return self.parts_at is None and self.logits == 0


def differences(run: Folder) -> list[str]:
    """What is not now as it was then: commit, packages, hardware. One sentence each."""
    then, now = json.loads(run.read("environment.json")), environment()
    said = []
    if then["git_dirty"] is not False:
        said.append(
            f"The run was made from a tree with changes beyond commit {then['git_commit'][:12]}; they are lost."
        )
    for name, version in then["packages"].items():
        if (found := now["packages"].get(name)) != version:
            said.append(f"{name} was {version} and is {found or 'missing'}.")
    for name in ("python", "platform", "cpus", "gpus"):
        if then[name] != now[name]:
            said.append(f"{name} was {then[name] or 'none'} and is {now[name] or 'none'}.")
    return said


def verify_inputs(run: Folder) -> int:
    """Read every video of the run's manifest and every file of weights; returns how many. Raises BadInput if any is not
    what was used."""
    rows = run.read_table("manifest.parquet").select(["path", "sha256"]).to_pylist()
    rows += json.loads(run.read("environment.json")).get("weights", [])
    bad = []
    for row in rows:
        try:
            same = hashlib.sha256(read_bytes(row["path"])).hexdigest() == row["sha256"]
        except FileNotFoundError:
            same = False
        bad += [] if same else [row["path"]]
    if bad:
        raise BadInput(
            f"{len(bad)} of {len(rows)} files are missing or not the ones that the run used, first {bad[0]}; "
            "restore them, since nothing can be compared on other data."
        )
    return len(rows)


def run_again(run: Folder, storage: str, workers: int) -> Folder:
    """Train and test again by the code of the run's commit; returns the folder of the new run.

    It begins with the weights of then, and on the GPUs of then its steps are computed in the precision and layout of
    then, unless these are found to be wrong today. If it was interrupted it goes on. Relative paths of the experiment
    are taken from where this is called. 0 workers: as many as the run had.

    Raises BadInput if the commit is not in this repository, or the run fails.
    """
    recorded = json.loads(run.read("environment.json"))
    commit, name = recorded["git_commit"], f"{split_options(run.uri)[0].rpartition('/')[2]}-again"
    begins_with = {"config.json", INITIAL} | ({EXECUTION} if recorded["gpus"] == environment()["gpus"] else set())
    with tempfile.TemporaryDirectory() as scratch, _checked_out(commit, Path(scratch) / "tree") as tree:
        given = Path(scratch) / "given"  # apart from the tree, so that only PYTHONPATH tells whose code runs
        given.mkdir()
        for file in begins_with & set(run.names()):
            (given / file).write_bytes(run.read(file))
        (given / "again.py").write_text(AGAIN)
        command = [sys.executable, given / "again.py", given, storage, name, str(workers or recorded.get("workers", 1))]
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(tree)}, check=False)
        if done.returncode:
            raise BadInput(f"The run failed at commit {commit[:12]}; what it said stands above.")
        return folder_at((given / "result").read_text())


def compare(first: Folder, second: Folder) -> Comparison:
    """Two runs of one experiment, step by step and clip by clip.

    Raises BadInput if they were trained or tested on other videos, labels or subsets.
    """
    hashes = [manifest_sha256(folder.read_table("manifest.parquet")) for folder in (first, second)]
    if hashes[0] != hashes[1]:
        raise BadInput(
            f"{second.uri} has other videos, labels or subsets than {first.uri}: lists or folder have changed since; "
            "restore them, since nothing can be compared on other data."
        )
    losses = [_losses(folder) for folder in (first, second)]
    steps = min(map(len, losses))
    a, b = (np.array(each[:steps]) for each in losses)
    parted = np.flatnonzero((a != b).any(axis=1))
    at = int(parted[0]) + 1 if parted.size else (steps + 1 if len(losses[0]) != len(losses[1]) else None)
    tables = [folder.read_table("predictions.parquet").sort_by("video_id") for folder in (first, second)]
    logits = [_logits(table) for table in tables]
    return Comparison(
        steps=steps,
        parts_at=at,
        largest=float(np.max(np.abs(a[:, 0] - b[:, 0]) / np.maximum(np.abs(a[:, 0]), 1e-12), initial=0)),
        logits=float(np.abs(logits[0] - logits[1]).max()),
        other_predictions=int((logits[0].argmax(axis=1) != logits[1].argmax(axis=1)).sum()),
    )


def _losses(folder: Folder) -> list[list[float]]:
    """Total and parts of every step."""
    records: Sequence[dict[str, Any]] = [json.loads(line) for line in folder.read("metrics.jsonl").splitlines()]
    steps = [record["metrics"] for record in records if record["kind"] == "train"]
    names = ["total", *sorted(name for name in steps[0] if name != "total" and not name.endswith("_s"))]
    return [[step[name] for name in names] for step in steps]


def _logits(table: pa.Table) -> np.ndarray:
    return np.array(table["logits"].to_pylist())


@contextmanager
def _checked_out(commit: str, place: Path) -> Generator[Path]:
    """A work tree of a commit, removed afterwards. Raises BadInput if there is no such commit."""
    git = ["git", "-C", str(ROOT), "worktree"]
    done = subprocess.run([*git, "add", "--detach", str(place), commit], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BadInput(
            f"The run's commit {commit[:12]} is not in the repository at {ROOT}; fetch it ({done.stderr.strip()})."
        )
    try:
        yield place
    finally:
        subprocess.run([*git, "remove", "--force", str(place)], capture_output=True, check=False)
