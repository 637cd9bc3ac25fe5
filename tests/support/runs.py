"""What a run left behind: in its folder and in MLflow."""

import copy
import json

import mlflow
import torch

from components.ingest import make_plan, subset
from components.storage import checkpoint_steps, read_checkpoint
from dtcm.data.files import filesystem, join, list_files
from dtcm.data.transforms import load_clip
from dtcm.models.dtcm import build
from dtcm.seeding import seed_everything
from dtcm.step import make_optimizer, set_trained, train_step


def steps_of(run):
    return [record for record in run.read_metrics() if record["kind"] == "train"]


def curve(run):
    """Step and loss of every step."""
    return [(record["step"], record["metrics"]["total"]) for record in steps_of(run)]


def first_step(experiment, manifest, num_classes):
    """A new model as it was, and the figures of the first step of its training, computed without Ray."""
    seed_everything(experiment.seed)
    model = build(experiment.model, num_classes, experiment.data.frames, experiment.data.crop_px)
    new, optim = copy.deepcopy(model), experiment.optim
    set_trained(model, "both")
    videos, rows = subset(manifest, "train").to_pylist(), make_plan(manifest, experiment).rows(0)
    clips = torch.stack([torch.tensor(load_clip(videos[row.video]["path"], row, experiment.data)) for row in rows])
    labels = torch.tensor([videos[row.video]["label"] for row in rows])
    optimizer = make_optimizer(model, optim)
    return new, train_step(model, optimizer, clips, labels, experiment.loss, accumulate=optim.accumulate)


def history(run, uri):
    """The same as MLflow holds it, each as often as it is there."""
    return history_of(json.loads(run.folder.read("mlflow.json"))["run_id"], uri)


def history_of(run_id, uri):
    points = mlflow.MlflowClient(uri).get_metric_history(run_id, "train/total")
    return sorted((point.step, point.value) for point in points)


def records(run):
    """Kind, step and figures of every record, without how long it took."""
    return [(record["kind"], record["step"], figures(record)) for record in run.read_metrics()]


def figures(record):
    """What a record says of the computation."""
    return {name: value for name, value in record["metrics"].items() if not name.endswith("_s")}


def assert_in_mlflow(run, uri):
    """MLflow has one run, with every figure of every record once, and one version of its model."""
    client = mlflow.MlflowClient(uri)
    run_id = json.loads(run.folder.read("mlflow.json"))["run_id"]
    expected = {}
    for record in run.read_metrics():
        for name, value in record["metrics"].items():
            expected.setdefault(f"{record['kind']}/{name}", []).append((record["step"], value))
    for key, points in expected.items():
        found = [(point.step, point.value) for point in client.get_metric_history(run_id, key)]
        if key.endswith("_s"):  # of a step that was done twice, MLflow may have the first time
            found, points = [step for step, _ in found], [step for step, _ in points]
        assert sorted(found) == sorted(points), key
    (only,) = client.search_runs([client.get_run(run_id).info.experiment_id])
    assert only.info.run_id == run_id
    assert len(client.search_model_versions(f"run_id = '{run_id}'")) == 1


def assert_undisturbed(result, trained):
    """Records, weights, predictions and checkpoints are those of the tiny run `trained`, each once."""
    run, other = result.run, trained.run
    assert records(run) == records(other)
    assert [step for step, _ in curve(run)] == list(range(1, 7))
    assert_in_mlflow(run, result.tracking_uri)
    assert run.model.read("model.safetensors") == other.model.read("model.safetensors")
    assert run.read_table("predictions.parquet").equals(other.read_table("predictions.parquet"))
    assert checkpoint_steps(run.checkpoints) == checkpoint_steps(other.checkpoints) == [3, 6]
    for step in (3, 6):
        assert read_checkpoint(run.checkpoints, step) == read_checkpoint(other.checkpoints, step)
    assert result.model_version


def upload(folder, place):
    """Copy all files below a folder into a bucket."""
    for file in list_files(str(folder)):
        system, path = filesystem(join(place, file.name))
        with system.open_output_stream(path) as stream:
            stream.write((folder / file.name).read_bytes())
