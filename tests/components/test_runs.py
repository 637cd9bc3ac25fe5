import json
import os
import shutil
import socket
import subprocess
import sys

import pyarrow as pa
import pytest

from components.runs import close_run, environment, manifest_sha256, open_run
from components.settings import Settings
from dtcm.config import Experiment
from dtcm.errors import BadInput
from tests.support.servers import ROOT

EXPERIMENT = Experiment(recipe="night")


def manifest(*videos):
    rows = [
        {"video_id": name, "path": f"/data/{name}", "sha256": sha, "label": 0, "class_name": "a", "subset": "train"}
        for name, sha in videos
    ]
    return pa.Table.from_pylist(rows)


TWO = manifest(("a.mp4", "11"), ("b.mp4", "22"))


@pytest.fixture
def settings(storage):
    return Settings(storage=storage)


def test_an_unfinished_run_is_gone_on_with_and_a_finished_one_is_not(settings):
    first = open_run(EXPERIMENT, settings, TWO)
    assert open_run(EXPERIMENT, settings, TWO).folder == first.folder
    close_run(first, {"top1": 0.5})
    second = open_run(EXPERIMENT, settings, TWO)
    assert second.name == f"{first.name}-2"
    assert not second.folder.has("result.json")


def test_another_experiment_is_another_run(settings):
    other = Experiment(recipe="night", seed=1)
    assert open_run(EXPERIMENT, settings, TWO).name != open_run(other, settings, TWO).name


@pytest.mark.parametrize(
    ("experiment", "videos", "sentence"),
    [
        (Experiment(recipe="night", seed=1), TWO, "another experiment"),
        (EXPERIMENT, manifest(("a.mp4", "11"), ("b.mp4", "23")), "have changed"),
        (EXPERIMENT, manifest(("a.mp4", "11")), "have changed"),
    ],
)
def test_a_named_run_is_not_mixed_with_other_work(storage, experiment, videos, sentence):
    named = Settings(storage=storage, run="mine")
    open_run(EXPERIMENT, named, TWO)
    with pytest.raises(BadInput, match=sentence):
        open_run(experiment, named, videos)


def test_a_named_run_that_is_finished_is_refused(storage):
    named = Settings(storage=storage, run="mine")
    close_run(open_run(EXPERIMENT, named, TWO), {})
    with pytest.raises(BadInput, match="is finished"):
        open_run(EXPERIMENT, named, TWO)


def test_a_run_that_a_living_process_is_at_is_refused_and_a_dead_ones_is_taken_over(settings):
    run = open_run(EXPERIMENT, settings, TWO)
    owner = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    run.folder.write("RUNNING", json.dumps({"host": socket.gethostname(), "pid": owner.pid}).encode())
    with pytest.raises(BadInput, match=f"process {owner.pid}"):
        open_run(EXPERIMENT, settings, TWO)
    owner.communicate(b"\n")
    open_run(EXPERIMENT, settings, TWO)
    assert json.loads(run.folder.read("RUNNING"))["pid"] == os.getpid()


def test_the_manifests_hash_is_of_content_and_not_of_place_or_order():
    moved = TWO.set_column(1, "path", pa.array(["/elsewhere/a.mp4", "/elsewhere/b.mp4"]))
    assert manifest_sha256(moved) == manifest_sha256(TWO)
    assert manifest_sha256(TWO.take([1, 0])) == manifest_sha256(TWO)
    assert manifest_sha256(manifest(("a.mp4", "11"), ("b.mp4", "23"))) != manifest_sha256(TWO)


def test_the_environment_names_no_variable(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
    assert "planted-secret" not in json.dumps(environment())


def test_code_without_git_knows_its_commit_from_a_file(tmp_path):
    for package in ("components", "dtcm"):
        shutil.copytree(ROOT / package, tmp_path / package)
    script = "from components.runs import environment; e = environment(); print(e['git_commit'], e['git_dirty'])"
    command = [sys.executable, "-c", script]
    place = {"PYTHONPATH": str(tmp_path), "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    said = []
    for _ in range(2):
        done = subprocess.run(command, cwd=tmp_path, env=os.environ | place, capture_output=True, text=True)
        said.append(done.stdout)
        (tmp_path / "COMMIT").write_text("0123abcd\n")
    assert said == ["unknown None\n", "0123abcd False\n"]
