"""Fixtures that every test may use."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import av
import boto3
import numpy as np
import pytest
import ray
from moto.server import ThreadedMotoServer

from components import cluster as cluster_module
from components.settings import Settings
from components.workflow import train_test_register
from dtcm.config import DataConfig, Experiment, ModelConfig, OptimConfig

REFERENCE = Path(os.environ.get("DTCM_REFERENCE", Path(__file__).parents[2] / "shared"))

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


class Proxy:
    """Stands in front of a store and fails the requests that `fault(number, command, path)` names a fault for.

    "500", "503", "403": that status. "cut": no answer, the connection ends. "half": the body ends half-way. "stall": no
    answer, the connection stays. "dead": cut, and for `dead_s` seconds nobody listens at the port.
    """

    def __init__(self, fault, dead_s=5.0):
        self.fault, self.dead_s, self.failures, self.answered = fault, dead_s, [], []
        self.store, self.numbers, self.ended = (
            urlsplit(os.environ["AWS_ENDPOINT_URL"]),
            itertools.count(1),
            threading.Event(),
        )
        self.dead, self.port = False, 0
        self.listen()

    @property
    def options(self):
        return f"?endpoint_override=127.0.0.1:{self.port}&scheme=http"

    def listen(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), partial(Handler, self))
        self.port, self.dead = self.server.server_port, False
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def die(self):
        self.dead = True
        self.close()
        if not self.ended.wait(self.dead_s):
            self.listen()

    def end(self):
        self.ended.set()
        if not self.dead:
            self.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, proxy, *arguments):
        self.proxy = proxy
        super().__init__(*arguments)

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        del self.headers["Transfer-Encoding"]
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def forward(self):
        proxy, body = self.proxy, self.body()
        fault = "cut" if proxy.dead else proxy.fault(next(proxy.numbers), self.command, self.path)
        if fault and not proxy.dead:
            proxy.failures.append((self.command, self.path, fault))
        if fault == "stall":
            proxy.ended.wait()
        if fault == "dead":
            proxy.dead = True
            threading.Thread(target=proxy.die, daemon=True).start()
        if fault and fault.isdigit():
            return self.answer(int(fault), b"<Error><Code>SlowDown</Code></Error>", {})
        if fault in ("cut", "stall", "dead"):
            self.close_connection = True
            return self.connection.close()
        upstream = HTTPConnection(proxy.store.netloc)
        upstream.request(self.command, self.path, body, dict(self.headers))
        response = upstream.getresponse()
        content = response.read()
        upstream.close()
        self.answer(response.status, content, dict(response.headers), half=fault == "half")
        if not fault:
            proxy.answered.append((self.command, self.path))

    def answer(self, status, content, headers, half=False):
        self.send_response(status)
        length = headers.get("Content-Length") if self.command == "HEAD" else len(content)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(length or 0))
        self.end_headers()
        if half:
            self.close_connection = True
            content = content[: len(content) // 2]
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward  # noqa: N815  http.server's names

    def log_message(self, format, *args):
        pass


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
    ray.init(address="local", num_cpus=4, dashboard_host="127.0.0.1", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def trained(cluster, tiny, tmp_path_factory):
    """The result of the tiny experiment on one worker."""
    return train_test_register(tiny, Settings(storage=str(tmp_path_factory.mktemp("one"))))


@pytest.fixture(scope="session")
def mlflow_server():
    """Starts a server of MLflow's for a `with` block: its log, the path that answers, arguments and environment."""
    return _serve


@pytest.fixture
def storage(tmp_path):
    return str(tmp_path / "runs")


@contextmanager
def _serve(log, path, *command, **environment):
    """A server of MLflow's on a free port of loopback, by its address, once `path` answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path_to = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # as in an activated environment
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *command, "--host", "127.0.0.1", "--port", str(port)],
            stdout=output, stderr=output, start_new_session=True, cwd=Path(log).parent,
            env=os.environ | {"PATH": path_to} | environment,
        )  # fmt: skip
    address, deadline_s = f"http://127.0.0.1:{port}", time.monotonic() + 120
    try:
        while True:
            try:
                urlopen(address + path, timeout=5)
                break
            except (URLError, OSError):
                assert process.poll() is None, Path(log).read_text()
                assert time.monotonic() < deadline_s, Path(log).read_text()
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


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
