"""What a run left behind: in its folder and in MLflow."""

import json

import mlflow

from components.storage import checkpoint_steps, read_checkpoint
from dtcm.data.files import filesystem, join, list_files


def steps_of(run):
    return [record for record in run.read_metrics() if record["kind"] == "train"]


def curve(run):
    """Step and loss of every step."""
    return [(record["step"], record["metrics"]["total"]) for record in steps_of(run)]


def history(run, uri):
    """The same as MLflow holds it, each as often as it is there."""
    return history_of(json.loads(run.folder.read("mlflow.json"))["run_id"], uri)


def history_of(run_id, uri):
    points = mlflow.MlflowClient(uri).get_metric_history(run_id, "train/total")
    return sorted((point.step, point.value) for point in points)


def assert_undisturbed(result, trained):
    """Curve, weights, predictions and checkpoints are those of the tiny run `trained`, and every step is there once."""
    run, other = result.run, trained.run
    assert curve(run) == curve(other) == history(run, result.tracking_uri)
    assert [step for step, _ in curve(run)] == list(range(1, 7))
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
