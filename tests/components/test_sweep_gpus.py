"""Trials of a sweep that share a GPU, on a cluster of its own that says it has one: nothing computes on it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.ledger import Ledger
from components.storage import Folder
from dtcm.config import to_json

ROOT = Path(__file__).parents[2]

DRIVER = """
import json, sys, time
import ray, ray.train
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from components import sweep_trials
from components.cluster import prepare, reserved
from components.settings import Settings
from components.sweep import Limits, run_sweep
from components.sweep_plan import Sweep
from components.sweep_state import run_of
from dtcm.config import from_json

@ray.remote(num_cpus=0)
class Meeting:
    def __init__(self):
        self.here, self.most, self.left = 0, 0, 0
    def enter(self):
        self.here += 1
        self.most = max(self.most, self.here)
    def leave(self):
        self.here, self.left = self.here - 1, self.left + 1
    def state(self):
        return self.here, self.most, self.left

def wait(config):  # in place of a training: Train's worker holds its share of the GPU until another trial's does too
    assert ray.get_gpu_ids()
    meeting = ray.get_actor("meeting", namespace="gpus")
    ray.get(meeting.enter.remote())
    deadline = time.monotonic() + 600
    while ray.get(meeting.state.remote())[1] < 2:
        assert time.monotonic() < deadline, "no two trials at the same time"
        time.sleep(0.05)
    ray.get(meeting.leave.remote())

def train(one, settings):
    run = run_of(one, settings)
    DataParallelTrainer(
        wait,
        scaling_config=ray.train.ScalingConfig(
            num_workers=1, use_gpu=True, resources_per_worker=reserved(settings, use_gpu=True)
        ),
        run_config=ray.train.RunConfig(name="ray", storage_path=run.folder.uri),
    ).fit()
    run.write_metrics([{"kind": "val", "epoch": 1, "metrics": {"top1": 0.5, "cross_entropy": 1.0, "clips": 2.0}}])
    run.folder.write("result.json", json.dumps({"top1": 0.5}).encode())
    return ""

sweep_trials._train = ray.remote(num_cpus=0, max_retries=0)(train)
ray.cloudpickle.register_pickle_by_value(sweep_trials)  # the trials' processes use it too
prepare()
ray.init(address="local", num_cpus=6, num_gpus=1, dashboard_host="127.0.0.1", log_to_driver=False, namespace="gpus")
meeting = Meeting.options(name="meeting", lifetime="detached").remote()
sweep = Sweep("shared", from_json(open(sys.argv[1]).read()), "factors", {"model.k": (1, 2, 8)}, (0,), 0, {})
run_sweep(sweep, Settings(storage=sys.argv[2], device="cuda", gpus_per_worker=0.5), Limits())
here, most, left = ray.get(meeting.state.remote())
print(f"most at once: {most}, left: {left}")
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_trials_of_half_a_gpu_each_run_at_once_and_all_four_finish(tiny, tmp_path):
    (tmp_path / "driver.py").write_text(DRIVER)
    (tmp_path / "experiment.json").write_text(to_json(tiny))
    command = [sys.executable, tmp_path / "driver.py", tmp_path / "experiment.json", tmp_path / "runs"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Sweep shared: 2 trial(s) at once" in done.stdout
    assert "most at once: 2, left: 4" in done.stdout
    (folder,) = (tmp_path / "runs").glob("*/sweeps/shared")
    events = [event["event"] for event in Ledger(Folder(str(folder))).trials().values()]
    assert events == ["finished"] * 4
