"""Processes are killed while a run trains; what comes out is what comes out of a run that was left in peace.

Real processes and signals. When to kill is decided by what is seen in the run folder, never by time.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import mlflow
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load

from components.runs import Run
from components.settings import Settings
from components.state import INITIAL
from components.storage import COMMITTED, Folder, checkpoint_steps, read_checkpoint
from components.trainer import best_weights, next_step, train
from components.workflow import train_test_register
from dtcm.checkpoint import OPTIMIZER, PROGRESS, WEIGHTS
from dtcm.config import with_overrides
from dtcm.models.dtcm import build

ROOT = Path(__file__).parents[2]
EPOCH, STEPS = 12, 60
KILL_AT = 17
"""A step in the middle of the second epoch; a checkpoint of it or of one soon after is awaited before a kill."""
DEADLINE_S = 400

pytestmark = pytest.mark.timeout(900)  # a run, its loss, and the rest of the run


@pytest.fixture(scope="module")
def experiment(tiny):
    """Sixty steps that take no time. Its worker is stopped where something has to happen before its end."""
    return with_overrides(tiny, {"optim.epochs": STEPS // EPOCH, "optim.batch": 1})


@pytest.fixture(scope="module")
def slow_experiment(tiny, tiny_root, tmp_path_factory):
    """A single epoch over ten copies of the videos, of steps that take some 0.15 s on a core.

    A notice takes seconds to arrive; that it makes a checkpoint shows because nothing else makes one before the end.
    """
    root = tmp_path_factory.mktemp("many")
    for file in tiny_root.rglob("*.mp4"):
        name, group, index = file.stem.split("_")
        (root / name).mkdir(exist_ok=True)
        for copy in range(10):
            shutil.copy(file, root / name / f"{name}_{int(group) + 6 * copy}_{index}.mp4")
    larger = {"data.root": str(root), "data.width_px": 120, "data.height_px": 90, "data.crop_px": 80}
    return with_overrides(tiny, {"optim.epochs": 1, "optim.batch": 1, **larger})


@pytest.fixture(scope="module")
def calm(cluster, experiment, tmp_path_factory):
    """The run that nothing happened to, without a checkpoint within an epoch."""
    storage = str(tmp_path_factory.mktemp("calm"))
    return train_test_register(experiment, Settings(storage=storage, threads=1, checkpoint_minutes=0)).run


@pytest.fixture(scope="module")
def slow_calm(cluster, slow_experiment, tmp_path_factory):
    storage = str(tmp_path_factory.mktemp("slow"))
    return train_test_register(slow_experiment, Settings(storage=storage, threads=1, checkpoint_minutes=0)).run


def settings(storage, **more):
    return Settings(storage=str(storage), threads=1, checkpoint_steps=4, **more)


def find_run(storage, experiment):
    """The only run below a storage; None before it is there."""
    folders = list(Path(storage).glob("*/split1/*/manifest.parquet"))
    return Run("run", Folder(str(folders[0].parent)), experiment) if folders else None


def assert_same(run, calm, keep=2):
    """Curve, weights, predictions, and each step once in metrics.jsonl, MLflow and among whole checkpoints."""
    curves = [[(r["kind"], r["step"], figures(r)) for r in one.read_metrics()] for one in (run, calm)]
    last = curves[1][-1][1]
    assert [step for kind, step, _ in curves[0] if kind == "train"] == list(range(1, last + 1))
    assert curves[0] == curves[1]
    assert run.model.read("model.safetensors") == calm.model.read("model.safetensors")
    tables = [pq.read_table(Path(one.folder.uri) / "predictions.parquet") for one in (run, calm)]
    assert tables[0].equals(tables[1])
    assert logged(run) == [(step, values["total"]) for kind, step, values in curves[1] if kind == "train"]
    steps = checkpoint_steps(run.checkpoints)
    best = best_step(run, last)
    assert steps[-1] == last
    assert best in steps
    assert len(set(steps) - {best}) <= keep
    assert all(read_checkpoint(run.checkpoints, step) for step in steps)


def best_step(run, step):
    """The best epoch's, as the checkpoint of a step knows it."""
    return json.loads((run.checkpoints / f"step_{step:08d}").read(PROGRESS))["best_step"]


def figures(record):
    """What a record says of the computation, and not of how long it took."""
    return {name: value for name, value in record["metrics"].items() if not name.endswith("_s")}


def logged(run):
    """Steps and values of the curve in MLflow's database, as often as they are there."""
    uri = f"sqlite:///{Path(run.folder.uri).parents[2] / 'mlflow.db'}"
    run_id = json.loads(run.folder.read("mlflow.json"))["run_id"]
    history = mlflow.MlflowClient(uri).get_metric_history(run_id, "train/total")
    return sorted((point.step, point.value) for point in history)


def wait_for(condition, what):
    """What a condition gives as soon as it is true of anything."""
    end_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < end_s:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {DEADLINE_S} s for {what}")


def committed(storage, experiment):
    """Steps of the checkpoints that are committed by now."""
    run = find_run(storage, experiment)
    steps = checkpoint_steps(run.checkpoints) if run else []
    return [step for step in steps if (Path(run.checkpoints.uri) / f"step_{step:08d}" / COMMITTED).exists()]


def await_notice(storage, experiment):
    """The step of the checkpoint that a notice makes; no other is made within the epoch."""
    return wait_for(lambda: committed(storage, experiment), "a checkpoint of the notice")[0]


def await_steps(storage, experiment):
    """Wait until workers train."""
    wait_for(lambda: (run := find_run(storage, experiment)) and run.read_metrics(), "a record of a step")
    assert not committed(storage, experiment)


def reached(storage, experiment):
    """Wait for the middle of the run."""
    return wait_for(lambda: [s for s in committed(storage, experiment) if s >= KILL_AT], f"step {KILL_AT}")[-1]


def processes():
    """Parent and command line of every living process; a worker of Ray names there what it does."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    found[int(folder.name)] = (int(parent), (folder / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
    return found


def below(root, word="", of=None):
    """Pids of the processes that a process started, and they in turn, whose command lines contain a word."""
    known = of or processes()
    children = [pid for pid, (parent, _) in known.items() if parent == root]
    deeper = [pid for child in children for pid in below(child, word, known)]
    return [pid for pid in children if word in known[pid][1]] + deeper


def stopped_at(pid, word):
    """Stop a process; whether it then is what it was taken for. It goes on if not."""
    try:
        os.kill(pid, signal.SIGSTOP)
        if word in processes()[pid][1]:
            return True
        os.kill(pid, signal.SIGCONT)
    except (ProcessLookupError, KeyError):
        pass
    return False


@pytest.fixture
def in_background():
    """Starts a function in a thread; what is returned waits for its end, and raises its error."""
    threads = []

    def start(function, *arguments):
        outcome = []

        def run():
            try:
                outcome.append((function(*arguments), None))
            except BaseException as error:
                outcome.append((None, error))

        thread = threading.Thread(target=run, daemon=True)
        threads.append(thread)
        thread.start()

        def result():
            thread.join()
            value, error = outcome[0]
            if error is not None:
                raise error
            return value

        return result

    yield start
    for thread in threads:
        thread.join(DEADLINE_S)


@pytest.fixture
def command(tmp_path):
    """Starts the command that trains a calm run's experiment, in a Ray cluster of its own, into tmp_path/runs."""
    scratch = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # short, for the sake of socket names
    started = []

    def start(calm, *more):
        arguments = ["--from-config", f"{calm.folder.uri}/config.json", f"--settings.storage={tmp_path / 'runs'}"]
        arguments += ["--settings.threads=1", "--settings.checkpoint-steps=4", *more]
        environment = {**os.environ, "RAY_TMPDIR": scratch, "PYTHONUNBUFFERED": "1"}
        environment["RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S"] = "0.5"  # by default 5
        environment.pop("RAY_ADDRESS", None)
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "pipelines" / "train_arid.py"), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=ROOT,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        for pid in [*below(process.pid), process.pid] if process.poll() is None else []:
            os.kill(pid, signal.SIGKILL)
        process.wait()
    shutil.rmtree(scratch, ignore_errors=True)


def finished(process):
    output = process.communicate()[0]
    assert process.returncode == 0, output
    return output


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


NODES = """
import json, sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]
print(json.dumps([cluster.address, {node.all_processes["raylet"][0].process.pid: node.node_id for node in nodes}]))
sys.stdout.flush()
sys.stdin.read()
"""


@pytest.fixture
def nodes():
    """A cluster of three nodes, each with its raylet: its address, and ids by raylet of the two that can carry a run.

    In a process of its own, since the tests' process is in another cluster. The head has no CPUs.
    """
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    arguments = [sys.executable, "-c", NODES]
    pipes: dict = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(arguments, env={**os.environ, "RAY_TMPDIR": folder}, **pipes)
    found = next(line for line in process.stdout or () if line.startswith("["))
    address, raylets = json.loads(found)
    yield address, {int(pid): node for pid, node in raylets.items()}
    for pid in [*below(process.pid), process.pid]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    shutil.rmtree(folder, ignore_errors=True)


def raylet_of(raylets, word):
    """The raylet below which a process runs, among several."""
    return next((pid for pid in raylets if below(pid, word)), None)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["with the training worker", "without it"])
def test_a_killed_raylet(calm, experiment, nodes, command, tmp_path, which):
    address, raylets = nodes
    driver = command(calm, f"--settings.ray-address={address}")
    reached(tmp_path / "runs", experiment)
    carrier = raylet_of(raylets, "RayTrainWorker")
    (other,) = raylets.keys() - {carrier}
    (worker,) = below(carrier, "RayTrainWorker")
    os.kill(worker, signal.SIGSTOP)
    assert committed(tmp_path / "runs", experiment)[-1] < STEPS
    os.kill(carrier if which == "with the training worker" else other, signal.SIGKILL)
    os.kill(worker, signal.SIGCONT)
    finished(driver)
    assert_same(find_run(tmp_path / "runs", experiment), calm)


@pytest.mark.slow
def test_a_node_that_is_drained(slow_calm, slow_experiment, nodes, command, tmp_path):
    """The notice of a spot machine, as Ray passes it on."""
    address, raylets = nodes
    storage = tmp_path / "runs"
    more = ["--settings.checkpoint-steps=0", "--settings.checkpoint-minutes=0"]
    driver = command(slow_calm, f"--settings.ray-address={address}", *more)
    await_steps(storage, slow_experiment)
    node = raylets[raylet_of(raylets, "RayTrainWorker")]
    ray = Path(sys.executable).with_name("ray")
    drain = [ray, "drain-node", "--address", address, "--node-id", node]
    drain += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
    subprocess.run([*drain, "--deadline-remaining-seconds", "120"], check=True, capture_output=True)
    assert await_notice(storage, slow_experiment) < slow_calm.read_metrics()[-1]["step"]
    finished(driver)
    assert_same(find_run(storage, slow_experiment), slow_calm)


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


@pytest.fixture(scope="module")
def kept(cluster, calm, experiment, tmp_path_factory):
    """A storage with the run and every checkpoint that could be written beside it."""
    storage = tmp_path_factory.mktemp("kept")
    often = Settings(storage=str(storage), threads=1, checkpoint_minutes=1e-6, keep_checkpoints=STEPS)
    assert_same(train_test_register(experiment, often).run, calm, keep=STEPS)
    return storage


def flip(file):
    """Turn over one bit in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def flip_weights(checkpoint):
    flip(checkpoint / WEIGHTS)


def halve(checkpoint):
    """As a write that was cut off: half a file, and no word that all is there."""
    (checkpoint / COMMITTED).unlink()
    os.truncate(checkpoint / OPTIMIZER, (checkpoint / OPTIMIZER).stat().st_size // 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("which", "damage"),
    [("the latest", flip_weights), ("the latest", halve), ("the best", flip_weights), ("both", flip_weights)],
)
def test_a_damaged_checkpoint(calm, kept, experiment, tmp_path, capsys, which, damage):
    """It is not used and said so, the one before it is, and what a run ends with does not depend on it."""
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    run = find_run(tmp_path, experiment)
    run.folder.remove("result.json")
    steps = checkpoint_steps(run.checkpoints)
    best = best_step(run, STEPS)
    last = max(step for step in steps if best < step < STEPS)
    assert any(step % EPOCH for step in steps)
    for step in steps:
        if step > last:
            run.checkpoints.remove(f"step_{step:08d}")
    damaged = {"the latest": [last], "the best": [best], "both": [best, last]}[which]
    for step in damaged:
        damage(Path(run.checkpoints.uri) / f"step_{step:08d}")
    again = train_test_register(experiment, settings(tmp_path, keep_checkpoints=STEPS)).run
    output = capsys.readouterr().out
    assert (f"step_{last:08d} is incomplete or damaged" in output) == (last in damaged)
    assert f", from step {max(step for step in steps if step <= last and step not in {last} & set(damaged))}" in output
    for step in damaged:
        if step != last:
            again.checkpoints.remove(f"step_{step:08d}")
    assert_same_curve(again, calm)


def assert_same_curve(run, calm):
    assert [figures(record) for record in run.read_metrics()] == [figures(record) for record in calm.read_metrics()]
    assert run.model.read("model.safetensors") == calm.model.read("model.safetensors")
    assert len(logged(run)) == STEPS


@pytest.mark.slow
def test_a_training_begins_from_initial_weights(cluster, calm, tiny, tmp_path):
    """With a learning rate of 0 the parameters stay what they were at the beginning."""
    run = Run("run", Folder(str(tmp_path)), with_overrides(tiny, {"optim.lr": 0.0, "optim.epochs": 1}))
    initial = calm.model.read("model.safetensors")
    run.folder.write(INITIAL, initial)
    train(run, calm.read_table("manifest.parquet"), 2, settings(tmp_path), use_gpu=False)
    begun, ended = load(initial), load(best_weights(run))
    model = build(tiny.model, 2, tiny.data.frames, tiny.data.crop_px)
    assert not [name for name, _ in model.named_parameters() if not torch.equal(begun[name], ended[name])]
