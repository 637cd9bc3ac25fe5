"""A planted password is nowhere to be found: not in what is printed, not in what is written."""

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from components.promotion import promote
from components.settings import Settings
from components.storage import Folder
from components.workflow import find_videos
from dtcm.config import with_overrides
from dtcm.data.files import filesystem
from dtcm.errors import BadInput
from dtcm.gate import Limits
from pipelines.command_line import run

ROOT = Path(__file__).parents[2]
PLANTED = "planted-secret"
URIS = [
    f"s3://me:{PLANTED}@bucket/videos",
    f"s3://bucket/videos?secret_key={PLANTED}",
    f"s3://bucket/videos?region=eu&session_token={PLANTED}",
    f"gs://me:{PLANTED}@bucket/videos",
]


@pytest.mark.parametrize("uri", URIS)
def test_a_place_with_a_password_in_it_is_refused_without_repeating_it(uri, tiny):
    for attempt in (
        lambda: filesystem(uri),
        lambda: Folder(uri).has("x"),
        lambda: find_videos(with_overrides(tiny, {"data.root": uri})),
    ):
        with pytest.raises(BadInput, match="must not hold a password") as told:
            attempt()
        assert PLANTED not in str(told.value)


@pytest.mark.parametrize("uri", ["s3://bucket/a@b", "s3://bucket/a:b@c", "s3://bucket/monkey=1/x"])
def test_a_name_that_only_looks_like_one_is_taken(uri, s3):
    assert filesystem(uri)[1] == uri.removeprefix("s3://")


def test_an_error_is_printed_without_passwords():
    def fail():
        raise BadInput(f"There is nothing at postgresql://me:{PLANTED}@db/x.")

    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(said), pytest.raises(SystemExit):
        run(fail)
    assert said.getvalue() == "error: There is nothing at postgresql://***@db/x.\n"


def test_a_registry_that_cannot_be_reached_is_told_without_its_password(tmp_path):
    uri = f"http://me:{PLANTED}@127.0.0.1:1"
    with pytest.raises(BadInput, match="MLflow cannot be reached") as told:
        promote("dtcm-x-split1", "1", Limits(), Settings(storage=str(tmp_path), tracking_uri=uri))
    assert PLANTED not in str(told.value)


@pytest.mark.slow
def test_a_whole_run_leaves_no_password_behind(tiny, tmp_path):
    data = {"root": tiny.data.root, "frames": 8, "stride": 1, "width-px": 40, "height-px": 30, "crop-px": 24}
    command = [
        sys.executable, "pipelines/train_arid.py",
        *(f"--experiment.data.{name}={value}" for name, value in data.items()),
        "--experiment.data.val-fraction=0.3", "--experiment.optim.epochs=1", f"--settings.storage={tmp_path / 'runs'}",
        f"--settings.tracking-uri=http://me:{PLANTED}@127.0.0.1:1",
    ]  # fmt: skip
    secrets = {"AWS_SECRET_ACCESS_KEY": PLANTED, "MLFLOW_TRACKING_PASSWORD": PLANTED, "RAY_DEDUP_LOGS": "0"}
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | secrets
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert PLANTED not in done.stdout + done.stderr
    assert "http://***@127.0.0.1:1" in done.stdout
    written = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert {"result.json", "index.html", "metrics.jsonl"} <= {path.name for path in written}
    assert not [path for path in written if PLANTED.encode() in path.read_bytes()]
    (recorded,) = (path for path in written if path.name == "environment.json")
    assert "http://***@127.0.0.1:1" in " ".join(json.loads(recorded.read_text())["command"])

    register = [sys.executable, "pipelines/register_run.py", str(recorded.parent)]
    register += ["--tracking-uri", f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}"]
    done = subprocess.run(register, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    logged = [path for path in (tmp_path / "mlflow").rglob("*") if path.is_file()]
    assert {"mlflow.db", "index.html", "model.safetensors", "MODEL_CARD.md"} <= {path.name for path in logged}
    assert not [path for path in logged if PLANTED.encode() in path.read_bytes()]
