"""A registered model served by MLflow, and a registry behind MLflow's server with its artefacts in a bucket."""

import json
import os
import shutil
from dataclasses import replace
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
from tests.support.servers import mlflow_server

pytestmark = pytest.mark.slow


def test_mlflow_serves_the_model_on_loopback(trained, tmp_path):
    name = trained.model_version.split(" ")[0]
    clips = np.random.default_rng(0).integers(0, 50, (2, 8, 24, 24, 3), dtype=np.uint8)
    expected = probabilities(read_bundle(trained.run.model).predict(clips).logits.numpy())
    command = ("models", "serve", "-m", f"models:/{name}@challenger", "--env-manager", "local", "--workers", "1")
    with mlflow_server(tmp_path / "log", "/ping", *command, MLFLOW_TRACKING_URI=trained.tracking_uri) as address:
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
    with mlflow_server(tmp_path / "log", "/health", *command, **extra) as address:
        tracker = Tracker(run, address)
        assert tracker.sync(run.read_metrics())
        name, number = tracker.finish(trained.test, {file: run.model.read(file) for file in FILES}).split(" version ")
        with bundle_of(f"models:/{name}/{number}", Settings(tracking_uri=address)) as model:
            assert model.read("model.safetensors") == run.model.read("model.safetensors")
