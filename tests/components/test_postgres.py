"""The registry behind MLflow's server on PostgreSQL, with its artefacts in a bucket.

Needs Debian's package postgresql: `make test-postgres` installs it.
"""

import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import psycopg2
import pytest

from components.promotion import promote
from components.registry import Tracker
from components.settings import Settings
from components.storage import Folder
from components.tester import read_bundle
from dtcm.bundle import FILES
from dtcm.gate import Limits
from dtcm.metrics import probabilities
from tests.support.runs import curve, history
from tests.support.servers import free_ports, mlflow_server

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(600)]
PASSWORD = "planted-secret"

LOAD = """
import sys, mlflow, numpy as np
found = mlflow.pyfunc.load_model(sys.argv[1]).predict(np.load(sys.argv[2]))
np.save(sys.argv[3], np.asarray(found))
assert not {"components", "ray"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def postgres():
    """The URI of an empty database on loopback that asks for a password."""
    programs = shutil.which("initdb") or max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None)
    assert programs, "these tests start PostgreSQL; `make test-postgres` installs it"
    programs = Path(programs).resolve().parent
    # It refuses to run as root, and its user cannot enter pytest's folders.
    who: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    home = Path(tempfile.mkdtemp())
    (home / "password").write_text(PASSWORD)
    for path in (home, home / "password") if who else ():
        shutil.chown(path, **who)
    options: dict[str, Any] = {**who, "cwd": home, "stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    initdb = ["initdb", "-D", home / "data", "-U", "mlflow", "--auth=scram-sha-256", f"--pwfile={home / 'password'}"]
    (port,) = free_ports(1)
    place = ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={home}"]
    server = None
    try:
        subprocess.run([programs / initdb[0], *initdb[1:]], check=True, **options)
        server = subprocess.Popen([programs / "postgres", "-D", home / "data", *place, "-c", "fsync=off"], **options)
        uri, deadline = f"postgresql://mlflow:{PASSWORD}@127.0.0.1:{port}/postgres", time.monotonic() + 60
        while not answers(uri):
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield uri.replace("postgresql:", "postgresql+psycopg2:")
    finally:
        if server:
            server.send_signal(signal.SIGINT)  # ends open connections too
            server.wait(60)
        shutil.rmtree(home)


def answers(uri):
    try:
        psycopg2.connect(uri).close()
    except psycopg2.OperationalError:
        return False
    return True


@pytest.fixture
def address(postgres, s3, tmp_path):
    """MLflow's server on that database."""
    bucket = f"{s3}/{tmp_path.name}"
    command = ("server", "--artifacts-destination", bucket, "--workers", "1")
    extra = {"MLFLOW_S3_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"], "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    extra["MLFLOW_BACKEND_STORE_URI"] = postgres  # not on the command line, which everybody may read
    with mlflow_server(tmp_path / "log", "/health", *command, **extra) as found:
        yield found


def test_a_run_is_registered_loaded_elsewhere_and_promoted(trained, address, postgres, s3, tmp_path):
    run, client = trained.run, mlflow.MlflowClient(address)
    records, files = run.read_metrics(), {file: run.model.read(file) for file in FILES}
    registered = []
    for number in "12":  # a run has one version, however often it is registered
        folder = Folder(shutil.copytree(run.folder.uri, tmp_path / number).as_posix())
        folder.remove("mlflow.json")
        copy = replace(run, folder=folder)
        tracker = Tracker(copy, address)
        assert tracker.sync(records)
        registered += [tracker.finish(trained.test, files) for _ in range(2)]
        assert history(copy, address) == curve(run)
    name, first = registered[0].split(" version ")
    second = registered[2].split(" version ")[1]
    assert registered == [f"{name} version {number}" for number in "1122"]
    assert str(client.get_model_version_by_alias(name, "challenger").version) == "2"

    clips = np.random.default_rng(0).integers(0, 50, (2, 8, 24, 24, 3), dtype=np.uint8)
    np.save(tmp_path / "clips.npy", clips)
    loaded = [sys.executable, "-c", LOAD, f"models:/{name}/2", tmp_path / "clips.npy", tmp_path / "shares.npy"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run(loaded, check=True, cwd=tmp_path, env=environment | {"MLFLOW_TRACKING_URI": address})
    expected = probabilities(read_bundle(run.model).predict(clips).logits.numpy())
    assert np.load(tmp_path / "shares.npy") == pytest.approx(expected, abs=1e-5)

    for number in (first, second):
        for key, value in {"git_dirty": "False", "git_commit": "a" * 40}.items():
            client.set_model_version_tag(name, number, key, value)
    client.set_registered_model_alias(name, "champion", first)
    settings = Settings(storage=f"{s3}/{tmp_path.name}/runs", tracking_uri=address)
    verdict = promote(name, second, Limits(latency=math.inf, margin=0.99), settings)
    assert verdict.passed, [check for check in verdict.checks if not check.passed]
    assert str(client.get_model_version_by_alias(name, "champion").version) == second


def test_a_database_that_refuses_the_password_is_told_without_it(trained, postgres, tmp_path, capsys):
    wrong = postgres.replace(PASSWORD, "another-secret")
    folder = Folder(shutil.copytree(trained.run.folder.uri, tmp_path / "run").as_posix())
    folder.remove("mlflow.json")
    assert not Tracker(replace(trained.run, folder=folder), wrong).sync(trained.run.read_metrics())
    said = "".join(capsys.readouterr())
    assert "MLflow cannot be reached" in said
    assert "another-secret" not in said
