"""Processes are killed while a run trains; what comes out is what comes out of a run that was left in peace.

Real processes and signals. When to kill is decided by what is seen in the run folder, never by time.
"""

import os
import re
import signal
import threading

import numpy as np
import pytest
from safetensors.torch import load
from torch.testing import assert_close

from components.settings import Settings
from components.storage import read_checkpoint
from components.workflow import train_test_register
from dtcm.checkpoint import WEIGHTS
from tests.support.processes import below, finished, processes, still, stopped_at, wait_for
from tests.support.runs import assert_in_mlflow, assert_undisturbed, records
from tests.support.survival import (
    KILL_AT,
    STEPS,
    assert_kept,
    assert_same,
    committed,
    find_run,
    is_rank_0,
    raylet_of,
    reached,
    settings,
)

pytestmark = pytest.mark.timeout(900)  # a run, its loss, and the rest of the run


def test_a_training_worker_killed_while_it_writes_a_checkpoint(
    cluster, s3, tiny, trained, proxied_s3, tmp_path, in_background
):
    """Up to the kill the store takes nothing of the last checkpoint, so the run waits there for it."""
    is_killed = threading.Event()
    proxy = proxied_s3(
        lambda _, command, path: command == "PUT" and "step_00000006" in path and not is_killed.is_set() and "stall"
    )
    tracking = f"sqlite:///{tmp_path / 'mlflow.db'}"
    where = Settings(storage=f"{s3}/{tmp_path.name}{proxy.options}", tracking_uri=tracking)
    result = in_background(train_test_register, tiny, where)
    wait_for(lambda: proxy.failures, "the last checkpoint")
    (worker,) = below(os.getpid(), "RayTrainWorker")
    os.kill(worker, signal.SIGKILL)
    is_killed.set()
    assert_undisturbed(result(), trained)


@pytest.mark.slow
def test_a_killed_training_worker(cluster, calm, experiment, tmp_path, in_background):
    result = in_background(train_test_register, experiment, settings(tmp_path))
    reached(tmp_path, experiment)
    (worker,) = below(os.getpid(), "RayTrainWorker")
    assert stopped_at(worker, "RayTrainWorker")
    assert committed(tmp_path, experiment)[-1] < STEPS
    os.kill(worker, signal.SIGKILL)
    assert_same(result().run, calm)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_training_worker_of_two(calm_with, tmp_path, in_background, rank):
    """Both stand still at the kill, so that the one that is left has not ended before it."""
    calm = calm_with(2)
    result = in_background(train_test_register, calm.experiment, settings(tmp_path, workers=2))
    reached(tmp_path, calm.experiment)
    workers = below(os.getpid(), "RayTrainWorker")
    (first,) = filter(is_rank_0, workers)
    (second,) = set(workers) - {first}
    lost, left = (second, first) if rank else (first, second)
    with still(left, "RayTrainWorker"):
        assert stopped_at(lost, "RayTrainWorker")
        assert committed(tmp_path, calm.experiment)[-1] < STEPS
        os.kill(lost, signal.SIGKILL)
    assert_same(result().run, calm)


@pytest.mark.slow
def test_a_killed_data_worker(cluster, calm, experiment, tmp_path, in_background):
    result = in_background(train_test_register, experiment, settings(tmp_path))
    wait_for(lambda: find_run(tmp_path, experiment), "the run folder")
    decoding = wait_for(
        lambda: next((pid for pid in below(os.getpid(), "_step_clips") if stopped_at(pid, "_step_clips")), None),
        "a process that decodes",
    )
    assert STEPS not in committed(tmp_path, experiment)
    os.kill(decoding, signal.SIGKILL)
    assert_same(result().run, calm)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["with the training worker", "that decoded its clips"])
def test_a_killed_raylet(calm, experiment, nodes, command, tmp_path, which):
    """The clips that a node decoded are in its memory, and with it they are lost."""
    address, raylets = nodes
    driver = command(calm, f"--settings.ray-address={address}")
    decoder = wait_for(lambda: raylet_of(raylets, "_step_clips"), "a node that decodes")
    reached(tmp_path / "runs", experiment)
    carrier = raylet_of(raylets, "RayTrainWorker")
    assert carrier != decoder
    (worker,) = below(carrier, "RayTrainWorker")
    with still(worker, "RayTrainWorker"):
        assert committed(tmp_path / "runs", experiment)[-1] < STEPS
        os.kill(carrier if which == "with the training worker" else decoder, signal.SIGKILL)
    finished(driver)
    assert_same(find_run(tmp_path / "runs", experiment), calm)


@pytest.mark.slow
@pytest.mark.parametrize("everything", [False, True], ids=["driver", "everything"])
def test_a_killed_driver_and_the_same_command_again(calm, experiment, command, tmp_path, everything):
    """Everything is driver, raylet, GCS, dashboard, training and data workers, at once."""
    driver = command(calm)
    reached(tmp_path / "runs", experiment)
    started = [driver.pid, *below(driver.pid)]
    for pid in started:  # all stand still, so that none sees another die
        os.kill(pid, signal.SIGSTOP)
    for word in ("gcs_server", "raylet/raylet", "RayTrainWorker"):
        assert below(driver.pid, word)
    assert committed(tmp_path / "runs", experiment)[-1] < STEPS
    for pid in started if everything else [driver.pid]:
        os.kill(pid, signal.SIGKILL)
    for pid in set(started) & processes().keys():
        os.kill(pid, signal.SIGCONT)
    assert driver.wait() == -signal.SIGKILL
    wait_for(lambda: not set(started) & processes().keys(), "the end of what the driver had started")
    output = finished(command(calm))
    for promised in (", from step ", "Test:", "chance", "Run folder:", "Registered:", "MLflow's page:"):
        assert promised in output
    assert_same(find_run(tmp_path / "runs", experiment), calm)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_another_number_of_workers_goes_on(calm_with, command, tmp_path, before, after):
    """Up to where it goes on every bit is the calm run's; after that, two workers' sums are in another order than one's
    (differences of 2e-4 at the most were seen, 2e-7 from two to one). Weights may differ by a tenth of what a step
    changes them by, 1e-3; 2.4e-7 was seen."""
    calm, storage = calm_with(before), tmp_path / "runs"
    driver = command(calm, f"--settings.workers={before}")
    reached(storage, calm.experiment)
    for pid in [driver.pid, *below(driver.pid)]:
        os.kill(pid, signal.SIGKILL)
    driver.wait()
    output = finished(command(calm, f"--settings.workers={after}"))
    (resumed,) = map(int, re.findall(rf"{STEPS} steps on {after} worker\(s\), CPU, from step (\d+)", output))
    run = find_run(storage, calm.experiment)
    assert KILL_AT <= resumed < STEPS
    assert [step for kind, step, _ in records(run) if kind == "train"] == list(range(1, STEPS + 1))
    for mine, expected in zip(records(run), records(calm), strict=True):
        assert mine[:2] == expected[:2]
        assert mine[2] == (expected[2] if mine[1] <= resumed else pytest.approx(expected[2], rel=1e-3, abs=1e-6))
    assert_in_mlflow(run, f"sqlite:///{storage / 'mlflow.db'}")
    tables = [one.read_table("predictions.parquet") for one in (run, calm)]
    assert tables[0]["video_id"].equals(tables[1]["video_id"])
    logits = [np.array(table["logits"].to_pylist()) for table in tables]
    assert logits[0] == pytest.approx(logits[1], rel=1e-2, abs=1e-3)
    assert_kept(run, STEPS)
    for weights, expected in zip(final_weights(run), final_weights(calm), strict=True):
        assert_close(weights, expected, rtol=1e-3, atol=1e-4)


def final_weights(run):
    """Those of the last checkpoint, and those of the best epoch."""
    last = read_checkpoint(run.checkpoints, STEPS)
    assert last
    return [load(last[WEIGHTS]), load(run.model.read("model.safetensors"))]
