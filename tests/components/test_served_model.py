"""A registered model served by MLflow, and a registry behind MLflow's server with its artefacts in a bucket."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np
import pytest

from components.registry import Tracker
from components.settings import Settings
from components.storage import Folder
from components.tester import read_bundle
from components.versions import bundle_of
from dtcm.bundle import FILES
from dtcm.metrics import probabilities

pytestmark = pytest.mark.slow


@contextmanager
def server(log, path, *command, **environment):
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


def test_mlflow_serves_the_model_on_loopback(trained, tmp_path):
    name = trained.model_version.split(" ")[0]
    clips = np.random.default_rng(0).integers(0, 50, (2, 8, 24, 24, 3), dtype=np.uint8)
    expected = probabilities(read_bundle(trained.run.model).predict(clips).logits.numpy())
    command = ("models", "serve", "-m", f"models:/{name}@challenger", "--env-manager", "local", "--workers", "1")
    with server(tmp_path / "log", "/ping", *command, MLFLOW_TRACKING_URI=trained.tracking_uri) as address:
        body = json.dumps({"inputs": clips.tolist()}).encode()
        request = Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
        answer = json.loads(urlopen(request, timeout=60).read())
    assert np.array(answer["predictions"]) == pytest.approx(expected, abs=1e-5)


def test_a_server_with_artefacts_in_a_bucket_registers_and_gives_back(s3, trained, tmp_path):
    folder = Folder(shutil.copytree(trained.run.folder.uri, tmp_path / "run").as_posix())
    folder.remove("mlflow.json")
    run = replace(trained.run, folder=folder)
    command = (
        "server", "--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}", "--workers", "1",
        "--artifacts-destination", f"{s3}/{tmp_path.name}",
    )  # fmt: skip
    extra = {"MLFLOW_S3_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"], "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with server(tmp_path / "log", "/health", *command, **extra) as address:
        tracker = Tracker(run, address)
        assert tracker.sync(run.read_metrics())
        name, number = tracker.finish(trained.test, {file: run.model.read(file) for file in FILES}).split(" version ")
        with bundle_of(f"models:/{name}/{number}", Settings(tracking_uri=address)) as model:
            assert model.read("model.safetensors") == run.model.read("model.safetensors")
