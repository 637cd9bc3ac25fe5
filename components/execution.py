"""How the steps of a run are computed: found out by one worker, kept in execution.json, the same for all."""

import json
from dataclasses import asdict

import torch
import torch.distributed as dist

from components.runs import Run
from dtcm.canary import NOTHING_TO_CHOOSE, choose
from dtcm.execution import Execution
from dtcm.models.dtcm import DTCM

FILE = "execution.json"
"""The fields of `Execution`, and why."""


def agreed(run: Run, model: DTCM, device: torch.device) -> Execution:
    """What rank 0 chooses, or chose when the run began and still finds right; every rank calls it.

    Args:
        run: its folder keeps the choice, so that a resumed run computes as it did.
        model: of this worker, not yet tied to the others.
        device: of this worker.
    """
    found: list[Execution | None] = [None]
    if dist.get_rank() == 0:
        before = None
        if run.folder.has(FILE):
            values = json.loads(run.folder.read(FILE))
            before = Execution(values["precision"], values["memory_format"], values["compile"])
        choice = choose(model, run.experiment, device, dist.get_world_size(), before)
        found = [choice.execution]
        run.folder.write(FILE, json.dumps({**asdict(choice.execution), "why": choice.why}, indent=2).encode())
    dist.broadcast_object_list(found, device=device)
    assert found[0] is not None
    return found[0]


def described(run: Run) -> str:
    """What was chosen and why, in a line; empty where there was nothing to choose, as on CPUs unless asked for."""
    why = json.loads(run.folder.read(FILE))["why"] if run.folder.has(FILE) else ""
    return f"Steps: {why}" if why and why != NOTHING_TO_CHOOSE else ""
