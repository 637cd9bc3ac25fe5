"""Workers, nodes and drivers are told to end while a run trains: they leave a checkpoint, from which it goes on."""

import os
import signal
import subprocess
from dataclasses import replace

import pytest

from components.settings import Settings
from components.trainer import next_step
from components.workflow import train_test_register
from tests.support.processes import below, finished
from tests.support.servers import RAY
from tests.support.survival import assert_same, await_notice, await_steps, find_run, is_rank_0, raylet_of

pytestmark = pytest.mark.timeout(900)  # a run, its loss, and the rest of the run

NOTHING_DUE = Settings(threads=1, checkpoint_minutes=0)


@pytest.mark.slow
def test_a_training_worker_that_is_told_to_end(cluster, slow_calm, slow_experiment, tmp_path, in_background):
    """SIGTERM as on a machine that shuts down."""
    result = in_background(train_test_register, slow_experiment, replace(NOTHING_DUE, storage=str(tmp_path)))
    await_steps(tmp_path, slow_experiment)
    (worker,) = below(os.getpid(), "RayTrainWorker")
    os.kill(worker, signal.SIGTERM)
    assert await_notice(tmp_path, slow_experiment) < slow_calm.read_metrics()[-1]["step"]
    assert_same(result().run, slow_calm)


@pytest.mark.slow
def test_the_second_of_two_training_workers_is_told_to_end(cluster, slow_calm_of_two, tmp_path, in_background):
    """The checkpoint is the first one's to write, and the notice only the other's."""
    experiment = slow_calm_of_two.experiment
    result = in_background(train_test_register, experiment, replace(NOTHING_DUE, storage=str(tmp_path), workers=2))
    await_steps(tmp_path, experiment)
    (first,) = filter(is_rank_0, workers := below(os.getpid(), "RayTrainWorker"))
    (second,) = set(workers) - {first}
    os.kill(second, signal.SIGTERM)
    assert await_notice(tmp_path, experiment) < slow_calm_of_two.read_metrics()[-1]["step"]
    assert_same(result().run, slow_calm_of_two)


@pytest.mark.slow
def test_a_node_that_is_drained(slow_calm, slow_experiment, nodes, command, tmp_path):
    """The notice of a spot machine, as Ray passes it on."""
    address, raylets = nodes
    storage = tmp_path / "runs"
    more = ["--settings.checkpoint-steps=0", "--settings.checkpoint-minutes=0"]
    driver = command(slow_calm, f"--settings.ray-address={address}", *more)
    await_steps(storage, slow_experiment)
    node = raylets[raylet_of(raylets, "RayTrainWorker")]
    drain = [RAY, "drain-node", "--address", address, "--node-id", node]
    drain += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
    subprocess.run([*drain, "--deadline-remaining-seconds", "120"], check=True, capture_output=True)
    assert await_notice(storage, slow_experiment) < slow_calm.read_metrics()[-1]["step"]
    finished(driver)
    assert_same(find_run(storage, slow_experiment), slow_calm)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_driver_that_is_told_to_stop(slow_calm, slow_experiment, command, tmp_path, number, status):
    storage = tmp_path / "runs"
    driver = command(slow_calm, "--settings.checkpoint-steps=0", "--settings.checkpoint-minutes=0")
    await_steps(storage, slow_experiment)
    driver.send_signal(number)
    output = driver.communicate()[0]
    run = find_run(storage, slow_experiment)
    step = next_step(run.checkpoints)
    assert driver.returncode == status, output
    assert f"Stopped with a checkpoint of step {step}; the same command goes on from there." in output.splitlines()
    assert "Traceback" not in output
    assert 0 < step < slow_calm.read_metrics()[-1]["step"]
    assert run.read_metrics()[-1]["step"] == step
    assert f", from step {step}" in finished(command(slow_calm))
    assert_same(run, slow_calm)
