"""A training whose loss or weights are no longer finite stops at that step and says which clips it had.

Workers that fail are replaced and would only get there again, so they end in an orderly way instead, and leave
the file NOT_FINITE in the run folder, by which whoever started them knows.
"""

import json
import math
from collections.abc import Mapping, Sequence

import pyarrow as pa
import torch
from torch import nn

from components.ingest import subset
from components.runs import Run
from dtcm.data.plan import PlanRow
from dtcm.errors import BadInput

NOT_FINITE = "not_finite.json"
"""The step, its figures and its clips."""


def finite(parts: Mapping[str, float], model: nn.Module | None = None) -> bool:
    """Whether a step's figures are, and all parameters of a model: a gradient may spoil them behind a sound loss."""
    if not all(map(math.isfinite, parts.values())):
        return False
    return model is None or bool(torch.stack([p.isfinite().all() for p in model.parameters()]).all())


def halt(run: Run, manifest: pa.Table, rows: Sequence[PlanRow], parts: Mapping[str, float]) -> None:
    """Write down the global batch after which training cannot go on."""
    video_ids = subset(manifest, "train")["video_id"].to_pylist()
    found = {
        "step": rows[0].step + 1,
        "video_ids": [video_ids[row.video] for row in rows],
        "metrics": {name: str(value) for name, value in parts.items()},  # JSON has no NaN
        "clips": [row._asdict() for row in rows],
    }
    run.folder.write(NOT_FINITE, json.dumps(found, indent=2).encode())


def check_not_halted(run: Run) -> None:
    """Raise BadInput if the training of a run has stopped so."""
    if run.folder.has(NOT_FINITE):
        step = json.loads(run.folder.read(NOT_FINITE))["step"]
        raise BadInput(
            f"Training stopped: the loss or the weights of step {step} are not finite; {run.folder.uri}/{NOT_FINITE} "
            "names its clips and the last checkpoint is kept. Lower --experiment.optim.lr, or set "
            "--experiment.optim.clip-norm."
        )
