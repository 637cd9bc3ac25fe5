"""Fixtures that every test may use."""

import os
from pathlib import Path

import av
import numpy as np
import pytest
import ray

from components import cluster as cluster_module
from components.settings import Settings
from components.workflow import train_test_register
from dtcm.config import DataConfig, Experiment, ModelConfig, OptimConfig

REFERENCE = Path(os.environ.get("DTCM_REFERENCE", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder of real videos, official lists and public weights, where this machine has them."""
    if not (REFERENCE / "reference").is_dir():
        pytest.skip(f"no reference material at {REFERENCE}; DTCM_REFERENCE names another folder")
    return REFERENCE


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory) -> Path:
    """24 small dark H.264 videos in two class folders, named as ARID's: a bar that moves left or right."""
    root = tmp_path_factory.mktemp("tiny")
    for direction, name in ((-1, "Left"), (1, "Right")):
        (root / name).mkdir()
        for group in range(1, 7):
            for index in (1, 2):
                _write_bar(root / name / f"{name}_{group}_{index}.mp4", direction, seed=10 * group + index)
    return root


@pytest.fixture(scope="session")
def tiny(tiny_root) -> Experiment:
    """An experiment on `tiny_root` of six steps in two epochs."""
    return Experiment(
        recipe="tiny",
        data=DataConfig(root=str(tiny_root), frames=8, width_px=40, height_px=30, crop_px=24, val_fraction=0.3),
        model=ModelConfig(classifier="small3d"),
        optim=OptimConfig(epochs=2, batch=4, lr=1e-3),
    )


@pytest.fixture(scope="session")
def cluster():
    """One real local cluster for all tests of the session, with room for two workers and for decoding."""
    cluster_module.prepare()
    ray.init(address="local", num_cpus=4, dashboard_host="127.0.0.1", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def trained(cluster, tiny, tmp_path_factory):
    """The result of the tiny experiment on one worker."""
    return train_test_register(tiny, Settings(storage=str(tmp_path_factory.mktemp("one"))))


@pytest.fixture
def storage(tmp_path):
    return str(tmp_path / "runs")


def _write_bar(path: Path, direction: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    phase, level = int(rng.integers(64)), int(rng.integers(30, 60))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for t in range(int(rng.integers(10, 20))):
            frame = rng.integers(0, 12, (48, 64, 3), dtype=np.uint8)
            columns = (phase + direction * 3 * t + np.arange(8)) % 64
            frame[:, columns] += np.uint8(level)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
