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
from tests.support.runs import first_step

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


@pytest.mark.slow
def test_one_that_was_cut_off_is_finished_by_the_next(initial, student, folder, tmp_path):
    """SIGKILL of the driver, with all that it started, while it pre-trains."""
    begun = Folder(str(tmp_path)) / "synthetic" / "split1" / folder.uri.rsplit("/", 1)[1]
    source = (
        "import sys; from components.cluster import cluster; from components.pretraining import initial_weights\n"
        "from components.settings import Settings; from dtcm.config import from_json\n"
        "settings = Settings(storage=sys.argv[2])\n"
        "with cluster(settings): initial_weights(from_json(sys.argv[1]), ('Left', 'Right'), settings, False)\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", source, to_json(student), str(tmp_path)])
    while not begun.has("RUNNING"):
        assert driver.poll() is None
    driver.kill()
    driver.wait()
    again = initial_weights(student, CLASSES, Settings(storage=str(tmp_path)), use_gpu=False)
    assert {name: value.tolist() for name, value in load(again).items()} == {
        name: value.tolist() for name, value in load(initial).items()
    }


@pytest.mark.slow
def test_the_enhancer_is_pre_trained_too(initial, student, folder):
    """Held against the weights that pre-training began with, as its first loss proves."""
    ours, manifest = pretraining.pretraining(student), pretraining.manifest(CLIPS)
    new, expected = first_step(ours, manifest, num_classes=11)
    records = [json.loads(line) for line in folder.read("metrics.jsonl").splitlines()]
    assert records[0]["metrics"]["total"] == pytest.approx(expected["total"], rel=1e-3)
    given = load(initial)
    names = [name for name, _ in new.named_parameters() if name.startswith("enhancer.")]
    assert names
    assert not [name for name in names if given[name].equal(new.get_parameter(name))]
