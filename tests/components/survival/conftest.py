"""The runs that nothing happens to, and what starts those that something happens to."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import cache

import pytest

from components.settings import Settings
from components.workflow import train_test_register
from dtcm.config import with_overrides
from tests.support.processes import below
from tests.support.servers import ROOT
from tests.support.survival import EPOCH, STEPS, settings


@pytest.fixture(scope="session")
def experiment(tiny):
    """Sixty steps that take no time. Its worker is stopped where something has to happen before its end."""
    return with_overrides(tiny, {"optim.epochs": STEPS // EPOCH, "optim.batch": 1})


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def calm(cluster, experiment, tmp_path_factory):
    """The run that nothing happened to, without a checkpoint within an epoch."""
    storage = str(tmp_path_factory.mktemp("calm"))
    return train_test_register(experiment, Settings(storage=storage, threads=1, checkpoint_minutes=0)).run


@pytest.fixture(scope="session")
def slow_calm(cluster, slow_experiment, tmp_path_factory):
    storage = str(tmp_path_factory.mktemp("slow"))
    return train_test_register(slow_experiment, Settings(storage=storage, threads=1, checkpoint_minutes=0)).run


@pytest.fixture(scope="session")
def slow_calm_of_two(cluster, slow_experiment, tmp_path_factory):
    """The same videos on two workers, each with a clip of every step."""
    where = Settings(storage=str(tmp_path_factory.mktemp("two")), threads=1, checkpoint_minutes=0, workers=2)
    return train_test_register(with_overrides(slow_experiment, {"optim.batch": 2}), where).run


@pytest.fixture(scope="session")
def calm_with(cluster, experiment, tmp_path_factory):
    """The run of so many workers that nothing happened to, without batch statistics, in which sums are less exact."""
    changes = {"model.enhancer": "zero-dce", "optim.batch": 2, "optim.epochs": 2 * STEPS // EPOCH}

    @cache
    def trained(workers):
        where = settings(tmp_path_factory.mktemp("pairs"), workers=workers)
        return train_test_register(with_overrides(experiment, changes), where).run

    return trained


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


NODES = """
import json, sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
print(json.dumps([cluster.address, {node.all_processes["raylet"][0].process.pid: node.node_id for node in nodes}]))
sys.stdout.flush()
sys.stdin.read()
"""


@pytest.fixture
def nodes():
    """A cluster of a head and three nodes, each with its raylet: its address, and ids of the three by their raylets.

    In a process of its own, since the tests' process is in another cluster. The head has no CPUs and each node one, so
    that the node of a training worker does not decode; when one of them is lost, two are left to do both.
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
