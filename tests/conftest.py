"""Fixtures that every test may use."""

from pathlib import Path

import av
import boto3
import numpy as np
import pytest
import ray
from moto.server import ThreadedMotoServer

from components import cluster as cluster_module
from components.loopback import loopback
from components.settings import Settings
from components.workflow import train_test_register
from dtcm.config import DataConfig, Experiment, ModelConfig, OptimConfig
from tests.support.reference import REFERENCE
from tests.support.s3_proxy import Proxy
from tests.support.servers import head_node

FAULTS = ("500", "503", "cut", "half")


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
def s3():
    """A bucket behind a real S3 endpoint on loopback, found by way of the usual environment variables."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    names = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in names.items() | {("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")}:
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield "s3://bucket"
    server.stop()


@pytest.fixture
def proxied_s3(s3):
    """Makes proxies in front of the bucket's store; see Proxy."""
    made = []
    yield lambda *arguments, **named: made.append(Proxy(*arguments, **named)) or made[-1]
    for proxy in made:
        proxy.end()


@pytest.fixture
def faulty_s3(proxied_s3):
    """The same bucket behind a proxy that fails every 20th request, and the list of the failures it made.

    In turn: status 500, status 503 with "SlowDown", a connection that is cut, a body that ends half-way.
    """
    proxy = proxied_s3(lambda number, *_: None if number % 20 else FAULTS[(number // 20 - 1) % len(FAULTS)])
    return proxy.options, proxy.failures


@pytest.fixture(scope="session")
def cluster(s3):
    """One real local cluster for all tests of the session, with room for two workers and for decoding.

    Its processes inherit the environment in which it starts, so the S3 endpoint has to be there first.
    """
    cluster_module.prepare()
    with loopback():
        ray.init(address="local", num_cpus=4, dashboard_host="127.0.0.1", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def trained(cluster, tiny, tmp_path_factory):
    """The result of the tiny experiment on one worker."""
    return train_test_register(tiny, Settings(storage=str(tmp_path_factory.mktemp("one"))))


@pytest.fixture(scope="session")
def standing_cluster(tmp_path_factory):
    """Environment of a Ray cluster that takes jobs, beside the tests' own; see head_node."""
    with head_node(tmp_path_factory.mktemp("home")) as environment:
        yield environment


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
