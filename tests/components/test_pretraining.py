"""Weights to begin with are made once, found by every run that needs them, and begun with."""

import json
import socket
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load

from components import pretraining as made
from components.exclusive import LOCK
from components.ingest import make_plan, subset, train_clips
from components.pretraining import initial_weights
from components.settings import Settings
from components.state import INITIAL
from components.storage import Folder
from components.workflow import train_test_register
from dtcm import checkpoint, pretraining
from dtcm.config import to_json, with_overrides
from dtcm.data.transforms import load_clip
from dtcm.models.dtcm import build
from dtcm.seeding import seed_everything
from dtcm.step import make_optimizer, set_trained, train_step
from tests.support.processes import below, kill_with_all_it_started, stopped_at, wait_for
from tests.support.runs import curve, first_step, records
from tests.support.survival import STEPS, committed, find_run

CLIPS = 8
CLASSES = ("Left", "Right")


@pytest.fixture(scope="module")
def student(tiny):
    return with_overrides(tiny, {"model.init": "synthetic", "optim.pretrain_clips": CLIPS})


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    return str(tmp_path_factory.mktemp("pretrained"))


@pytest.fixture(scope="module")
def initial(cluster, student, storage):
    return initial_weights(student, CLASSES, Settings(storage=storage), use_gpu=False)


@pytest.fixture
def folder(student, storage):
    ours = pretraining.pretraining(student)
    return Folder(storage) / "synthetic" / "split1" / pretraining.run_name(ours)


@pytest.mark.slow
def test_pre_training_sees_every_clip_once_and_keeps_no_checkpoint(initial, folder):
    records = [json.loads(line) for line in folder.read("metrics.jsonl").splitlines()]
    assert [record["step"] for record in records if record["kind"] == "train"] == [1, 2]
    assert json.loads(folder.read("result.json"))["clips"] == 11
    given, pretrained = load(initial), load(folder.read(checkpoint.WEIGHTS))
    assert all(value.equal(pretrained[name]) for name, value in given.items() if not name.startswith("classifier.fc."))
    assert not {"checkpoints", "RUNNING", LOCK} & set(folder.names())


@pytest.mark.slow
def test_it_is_done_once_for_all_seeds(initial, student, storage, monkeypatch):
    monkeypatch.setattr(made, "train", lambda *_: pytest.fail("trained again"))
    again = with_overrides(student, {"optim.epochs": 1, "data.root": "elsewhere"})
    assert initial_weights(again, CLASSES, Settings(storage=storage), use_gpu=False) == initial
    other = load(initial_weights(with_overrides(again, {"seed": 5}), CLASSES, Settings(storage=storage), use_gpu=False))
    assert {name for name, value in load(initial).items() if not value.equal(other[name])} == {
        "classifier.fc.weight",
        "classifier.fc.bias",
    }


@pytest.mark.slow
def test_who_needs_it_meanwhile_waits(student, folder, initial, tmp_path, monkeypatch):
    """The other process is a living one; it is finished by the time that this one has looked twice."""
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    begun, looks = Folder(str(tmp_path)) / "synthetic" / "split1" / folder.uri.rsplit("/", 1)[1], []
    holder = {"token": "other", "host": socket.gethostname(), "pid": other.pid, "time_s": time.time()}
    (begun / LOCK).write("000001.json", json.dumps(holder).encode())

    def look(_):
        looks.append(begun.has("result.json"))
        if len(looks) == 2:
            begun.write(checkpoint.WEIGHTS, folder.read(checkpoint.WEIGHTS))
            begun.write("result.json", b"{}")

    monkeypatch.setattr(made.time, "sleep", look)
    monkeypatch.setattr(made, "train", lambda *_: pytest.fail("trained beside the other process"))
    try:
        assert initial_weights(student, CLASSES, Settings(storage=str(tmp_path)), use_gpu=False) == initial
    finally:
        other.communicate(b"\n")
    assert looks == [False, False]


def test_a_stream_that_goes_on_shows_what_it_would_have_shown(cluster, student):
    ours = pretraining.pretraining(student)
    manifest = pretraining.manifest(CLIPS)
    whole = train_clips(manifest, ours, rank=0, world=1, start_step=0).take_all()
    rest = train_clips(manifest, ours, rank=0, world=1, start_step=1).take_all()
    assert [row["step"] for row in whole] == [0] * 4 + [1] * 4
    assert len({row["clip"].tobytes() for row in whole}) == CLIPS
    assert [(row["label"], row["clip"].tobytes()) for row in rest] == [
        (row["label"], row["clip"].tobytes()) for row in whole[4:]
    ]


@pytest.mark.slow
def test_a_run_begins_with_them(initial, student, storage):
    result = train_test_register(student, Settings(storage=storage))
    assert result.run.folder.read(INITIAL) == initial
    manifest = result.run.read_table("manifest.parquet")
    first = next(record["metrics"] for record in result.run.read_metrics() if record["kind"] == "train")

    def total(begins):
        """The loss of the first step, computed without Ray."""
        seed_everything(student.seed)
        model = build(student.model, 2, student.data.frames, student.data.crop_px)
        if begins:
            checkpoint.unpack_initial(initial, model)
        set_trained(model, "both")
        videos = subset(manifest, "train").to_pylist()
        rows = make_plan(manifest, student).rows(0)
        clips = torch.stack([torch.tensor(load_clip(videos[r.video]["path"], r, student.data)) for r in rows])
        labels = torch.tensor([videos[r.video]["label"] for r in rows])
        return train_step(model, make_optimizer(model, student.optim), clips, labels, student.loss)["total"]

    assert first["total"] == pytest.approx(total(begins=True), rel=1e-3)
    assert first["total"] != pytest.approx(total(begins=False), rel=0.01)


COMMAND = """
import sys
from components.cluster import cluster
from components.pretraining import initial_weights
from components.settings import Settings
from dtcm.config import from_json
settings = Settings(storage=sys.argv[2], checkpoint_steps=1)
with cluster(settings):
    initial_weights(from_json(sys.argv[1]), ("Left", "Right"), settings, False)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)  # a pre-training, the loss of another, and its rest
def test_one_that_was_cut_off_is_finished_by_the_next(cluster, student, tmp_path):
    """SIGKILL of the driver, with all that it started, in the middle of a pre-training that has a checkpoint."""
    longer, storage = with_overrides(student, {"optim.pretrain_clips": 4 * STEPS}), tmp_path / "cut off"
    ours = pretraining.pretraining(longer)
    command = [sys.executable, "-c", COMMAND, to_json(longer), str(storage)]
    driver = subprocess.Popen(command)

    def stopped_behind_a_checkpoint():
        assert driver.poll() is None
        workers = below(driver.pid, "RayTrainWorker") if committed(storage, ours) else []
        return [pid for pid in workers if stopped_at(pid, "RayTrainWorker")]

    try:
        wait_for(stopped_behind_a_checkpoint, "a checkpoint")
    finally:
        kill_with_all_it_started(driver)
    kept, run = committed(storage, ours)[-1], find_run(storage, ours)
    lines = run.folder.read("metrics.jsonl").splitlines()[:kept]
    assert 0 < kept < STEPS
    subprocess.run(command, check=True)
    assert run.folder.read("metrics.jsonl").splitlines()[:kept] == lines  # with their times: they were not done again
    assert [step for step, _ in curve(run)] == list(range(1, STEPS + 1))
    initial_weights(longer, CLASSES, Settings(storage=str(tmp_path / "undisturbed")), use_gpu=False)
    calm = find_run(tmp_path / "undisturbed", ours)
    assert records(run) == records(calm)
    assert run.folder.read(checkpoint.WEIGHTS) == calm.folder.read(checkpoint.WEIGHTS)


@pytest.mark.slow
def test_the_enhancer_is_pre_trained_too(initial, student, folder):
    """Held against the weights that pre-training began with, as its first loss proves."""
    ours, manifest = pretraining.pretraining(student), pretraining.manifest(CLIPS)
    new, expected = first_step(ours, manifest, num_classes=11)
    recorded = json.loads(folder.read("metrics.jsonl").splitlines()[0])
    assert recorded["metrics"]["total"] == pytest.approx(expected["total"], rel=1e-3)
    given = load(initial)
    names = [name for name, _ in new.named_parameters() if name.startswith("enhancer.")]
    assert names
    assert not [name for name in names if given[name].equal(new.get_parameter(name))]
