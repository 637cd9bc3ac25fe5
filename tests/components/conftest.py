"""Fixtures of the tests of what runs on a cluster."""

import threading

import pytest
import torch
import torch.distributed as dist

from components.storage import Folder
from dtcm.config import DataConfig, Experiment, ModelConfig, OptimConfig
from tests.support.processes import DEADLINE_S


@pytest.fixture(params=["disk", "s3"])
def folder(request, tmp_path):
    """An empty folder for runs and sweeps, on disk and in a bucket."""
    if request.param == "disk":
        return Folder(str(tmp_path / "folder"))
    return Folder(request.getfixturevalue("s3")) / tmp_path.name


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A group of one process, this one, on the CPU: what a worker computes can then be had without Ray Train."""
    for module in ("components.state", "components.worker"):
        monkeypatch.setattr(f"{module}.get_device", lambda: torch.device("cpu"))
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for each other lose most of their time where others share the cores
    yield
    torch.set_num_threads(threads)
    dist.destroy_process_group()


@pytest.fixture
def small():
    """An experiment whose model is quickly made; it has no videos."""
    return Experiment(
        data=DataConfig(frames=4, crop_px=16), model=ModelConfig(classifier="small3d"), optim=OptimConfig(batch=2)
    )


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
