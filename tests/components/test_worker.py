"""What a worker measures, agrees on with the others, and keeps."""

import json
import time
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from components import notice, worker
from components.execution import FILE, agreed
from components.runs import Run
from components.saver import Saver
from components.settings import Settings
from components.state import begin
from components.storage import Folder, checkpoint_steps
from components.worker import Job, Worker, _waited
from dtcm.config import with_overrides
from dtcm.data.records import MANIFEST
from dtcm.models.dtcm import build

CPU = torch.device("cpu")


def test_the_wait_is_for_clips_and_not_for_what_is_done_with_them(monkeypatch):
    """By a clock that decoding and training turn on; a checkpoint is a part of the latter."""
    clock = SimpleNamespace(now_s=0.0, monotonic=lambda: clock.now_s)
    monkeypatch.setattr(worker, "time", clock)

    def batches():
        for number, decoding_s in enumerate((5.0, 0.0, 2.0)):
            clock.now_s += decoding_s
            yield {"step": torch.tensor([number])}

    waits = []
    for batch, wait_s in _waited(batches()):
        waits.append((int(batch["step"]), wait_s))
        clock.now_s += 100.0
    assert waits == [(0, 5.0), (1, 0.0), (2, 2.0)]


def a_worker(**state):
    """One that Ray Train did not start, with as much of its state as the test is about."""
    made = object.__new__(Worker)
    vars(made).update(state)
    return made


LOOKS = {
    "none": [(float("inf"), False), (float("inf"), False)],
    "the first, since it is time": [(float("-inf"), False), (float("inf"), False)],
    "the second, since it was told to end": [(float("inf"), False), (float("inf"), True)],
}
"""Who wants to look up: of each worker, when it last did, and whether it has a signal to end."""


def two_workers(rank, folder, small):
    """Five clips: three for the first worker, two for the second, which is asked for another way to compute."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    worker.get_device = lambda: CPU
    parts, wait_s = [({"total": 1.0, "ar": 0.5}, 0.5), ({"total": 6.0, "ar": 3.0}, 2.0)][rank]
    found = {}
    for name, workers in LOOKS.items():
        last_look_s, is_told = workers[rank]
        notice.sigterm.set() if is_told else notice.sigterm.clear()
        one = a_worker(rank=rank, world=2, share=(3, 2)[rank] * 2 / 5, last_look_s=last_look_s)
        found[name] = one._agree(parts, wait_s)
    experiment = with_overrides(small, {"optim.precision": ("bf16", "fp32")[rank]})
    run = Run("run", Folder(f"{folder}/run{rank}"), experiment)
    execution = str(agreed(run, build(small.model, 2, 4, 16), CPU))
    Folder(folder).write(f"{rank}.json", json.dumps([found, execution, run.folder.has(FILE)]).encode())
    dist.destroy_process_group()


def test_two_workers_agree_on_losses_wait_looks_and_way_to_compute(small, tmp_path):
    mp.spawn(two_workers, (str(tmp_path), small), nprocs=2, daemon=True)
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    # Means over five clips, three with 1.0 and 0.5 and two with 6.0 and 3.0; of the waits the longest.
    means = {"total": pytest.approx(3.0), "ar": pytest.approx(1.5)}
    for agreed_on, _, _ in found:
        assert agreed_on == {name: [means, 2.0, name != "none"] for name in LOOKS}
    assert [execution for _, execution, _ in found] == ["bf16 contiguous"] * 2
    assert [is_kept for _, _, is_kept in found] == [True, False]


@pytest.fixture
def after_a_step(alone, small, tmp_path):
    """A worker that has done a step; a checkpoint is due after each, and the run is to stop."""
    run = Run("run", Folder(str(tmp_path / "run")), small)
    state = begin(run, num_classes=2, world=1, files=None)
    state.progress.step = 1
    made = a_worker(
        job=Job(run, MANIFEST.empty_table(), 2, Settings(checkpoint_steps=1), []), run=run, state=state,
        progress=state.progress, records=[], saver=Saver(run, keep=2), saved_step=0, save_is_due=False,
        last_save_s=time.monotonic(), is_stopped=True,
    )  # fmt: skip
    yield made
    made.saver.finish()


@pytest.mark.parametrize(("value", "saved"), [(0.5, [1]), (float("nan"), []), (float("-inf"), [])])
@pytest.mark.parametrize("end", [Worker._save_if_due, Worker._leave])
def test_weights_that_are_not_finite_are_kept_by_no_checkpoint(after_a_step, end, value, saved):
    """Neither by one that is due nor by one of a worker that leaves."""
    with torch.no_grad():
        next(after_a_step.state.model.parameters()).view(-1)[0] = value
    end(after_a_step)
    after_a_step.saver.wait()
    assert checkpoint_steps(after_a_step.run.checkpoints) == saved
