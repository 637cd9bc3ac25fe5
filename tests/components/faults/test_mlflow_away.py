"""MLflow is away while a training runs, and in the end it holds every record once."""

import json
import os
import shlex
import shutil
import signal

import mlflow
import pytest

from components.register import register_run
from components.registry import Tracker
from components.runs import Run
from components.settings import Settings
from components.storage import Folder, checkpoint_steps, read_checkpoint
from components.workflow import train_test_register
from dtcm.config import with_overrides
from dtcm.errors import BadInput
from pipelines import register_run as register_command
from pipelines.train_arid import describe
from tests.support.processes import below, still, wait_for
from tests.support.runs import assert_in_mlflow, curve, history, records, steps_of
from tests.support.servers import free_ports, start_mlflow
from tests.support.survival import find_run

EPOCHS = 20
"""Of three steps each, between which the training's process is stopped."""


class Server:
    """A real MLflow server on loopback, which can be killed and started again on its port."""

    def __init__(self, place):
        self.place, self.process = place, None
        (self.port,) = free_ports(1)
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self):
        command = ["server", "--backend-store-uri", f"sqlite:///{self.place / 'server.db'}"]
        command += ["--artifacts-destination", str(self.place / "artifacts"), "--workers", "1"]
        extra = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self.process = start_mlflow(self.place / "server.log", "/health", self.port, *command, **extra)

    def kill(self):
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)  # its own session: the server and its workers
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    server.kill()


@pytest.mark.slow
def test_a_server_that_comes_late_goes_and_comes_back_has_every_record_once(trained, server, tmp_path):
    run = trained.run
    other = Run("night", Folder(str(shutil.copytree(run.folder.uri, tmp_path / "night"))), run.experiment)
    other.folder.remove("mlflow.json")
    tracker, records = Tracker(other, server.uri), [record for record in run.read_metrics() if record["kind"] != "test"]
    assert not tracker.sync(records[:2])
    server.start()
    assert tracker.sync(records[:3])
    server.kill()
    assert not tracker.sync(records[:5])
    server.start()
    assert tracker.sync(records)
    assert history(other, server.uri) == curve(other)
    assert len(mlflow.MlflowClient(server.uri).search_runs([tracker_experiment(server, tracker)])) == 1


def tracker_experiment(server, tracker):
    return mlflow.MlflowClient(server.uri).get_run(tracker.run_id).info.experiment_id


@pytest.mark.slow
@pytest.mark.timeout(900)  # two trainings and two starts of a server
def test_training_goes_on_without_mlflow_and_its_records_are_complete_when_it_is_back(
    cluster, tiny, server, tmp_path, in_background
):
    """Nobody listens when training begins; the server starts, is killed when it holds steps, and comes back.

    Training stands still while the server does so, however long that takes.
    """
    experiment = with_overrides(tiny, {"optim.epochs": EPOCHS})
    settings = Settings(storage=str(tmp_path / "runs"), tracking_uri=server.uri)
    result = in_background(train_test_register, experiment, settings)

    def steps():
        run = find_run(tmp_path / "runs", experiment)
        return len(steps_of(run)) if run else 0

    def in_mlflow():
        client = mlflow.MlflowClient(server.uri)
        ids = [each.experiment_id for each in client.search_experiments()]
        return [run for run in client.search_runs(ids) if "train/total" in run.data.metrics]

    without = wait_for(steps, "a step without a server")
    (worker,) = below(os.getpid(), "RayTrainWorker")
    with still(worker, "RayTrainWorker"):
        server.start()
        wait_for(in_mlflow, "a run in MLflow")
        server.kill()
        held = steps()
    wait_for(lambda: steps() > held, "a step after the server's end")
    with still(worker, "RayTrainWorker"):
        assert 0 < without <= held < steps() < 3 * EPOCHS
        server.start()
    run = result().run
    assert_in_mlflow(run, server.uri)
    assert [step for step, _ in curve(run)] == list(range(1, 3 * EPOCHS + 1))
    assert result().model_version.endswith("version 1")
    calm = train_test_register(experiment, Settings(storage=str(tmp_path / "calm"))).run
    assert records(run) == records(calm)
    assert run.model.read("model.safetensors") == calm.model.read("model.safetensors")
    assert run.read_table("predictions.parquet").equals(calm.read_table("predictions.parquet"))
    assert checkpoint_steps(run.checkpoints) == checkpoint_steps(calm.checkpoints)
    last = read_checkpoint(run.checkpoints, 3 * EPOCHS)
    assert last
    assert last == read_checkpoint(calm.checkpoints, 3 * EPOCHS)


@pytest.fixture
def unregistered(trained, tmp_path):
    """Folder of a run that ended while MLflow was down."""
    place = shutil.copytree(trained.run.folder.uri, tmp_path / "storage" / "tiny" / "split1" / "night")
    (place / "mlflow.json").unlink()
    result = json.loads((place / "result.json").read_text())
    (place / "result.json").write_text(json.dumps(result | {"model_version": ""}))
    return place


def test_a_run_that_mlflow_missed_is_registered_later_and_once(trained, unregistered, tmp_path, capsys):
    with pytest.raises(BadInput, match=r"did not take the run; run the same command"):
        register_run(str(unregistered), "http://127.0.0.1:9")  # the discard port: nobody listens
    uri = f"sqlite:///{tmp_path / 'storage' / 'mlflow.db'}"  # the one of its storage
    for _ in range(2):
        register_command.main([str(unregistered)])
        assert json.loads((unregistered / "result.json").read_text())["model_version"].endswith("split1 version 1")
    assert capsys.readouterr().out.count("Registered: ") == 2
    client, run = mlflow.MlflowClient(uri), Run("night", Folder(str(unregistered)), trained.run.experiment)
    (version,) = client.search_model_versions()
    assert version.run_id == json.loads((unregistered / "mlflow.json").read_text())["run_id"]
    assert client.get_run(str(version.run_id)).info.status == "FINISHED"
    assert history(run, uri) == curve(run) == curve(trained.run)
    assert version.tags["top1"] == f"{trained.test['top1']:.6g}"


def test_a_later_call_completes_what_was_cut_off_and_nothing_else(unregistered, tmp_path):
    uri = f"sqlite:///{tmp_path / 'storage' / 'mlflow.db'}"
    name, _, number = register_run(str(unregistered)).partition(" version ")
    client = mlflow.MlflowClient(uri)
    client.delete_registered_model_alias(name, "challenger")  # as somebody does who prefers another version
    assert register_run(str(unregistered)) == f"{name} version {number}"
    assert client.get_registered_model(name).aliases == {}
    client.delete_tag(str(client.get_model_version(name, number).run_id), "dtcm.registered")  # as if it had ended there
    assert register_run(str(unregistered)) == f"{name} version {number}"
    assert client.get_registered_model(name).aliases == {"challenger": int(number)}
    assert len(client.search_model_versions()) == 1


@pytest.mark.slow
def test_a_run_that_ends_without_mlflow_says_how_to_register_it(cluster, tiny, server, tmp_path, capsys):
    """What the printed command does when the server is there."""
    settings = Settings(storage=str(tmp_path / "runs"), tracking_uri=server.uri)
    result = train_test_register(tiny, settings)
    describe(result)
    assert result.model_version == ""
    command = capsys.readouterr().out.partition("python pipelines/register_run.py ")[2].splitlines()[0]
    server.start()
    register_command.main(shlex.split(command))
    assert history(result.run, server.uri) == curve(result.run)
    assert json.loads(result.run.folder.read("result.json"))["model_version"].endswith("version 1")
