"""Store, disk, MLflow and videos fail while a training runs, and its result is that of the undisturbed one."""

import itertools
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import mlflow
import numpy as np
import pyarrow as pa
import pytest
from ray.exceptions import RayTaskError

from components import unreadable
from components.ingest import centre_clips, make_plan, subset, train_clips
from components.register import register_run
from components.registry import Tracker
from components.runs import Run
from components.settings import Settings
from components.storage import Folder, checkpoint_steps, latest_checkpoint, read_checkpoint
from components.tester import predict_subset
from components.trainer import train
from components.workflow import train_test_register
from dtcm.config import with_overrides
from dtcm.data.files import filesystem, list_files
from dtcm.data.transforms import load_clip
from dtcm.errors import BadInput
from pipelines import register_run as register_command
from pipelines.train_arid import describe


def steps_of(run):
    return [record for record in run.read_metrics() if record["kind"] == "train"]


def curve(run):
    return [(record["step"], record["metrics"]["total"]) for record in steps_of(run)]


def history(run, uri):
    """What MLflow holds of a run's losses, by step."""
    run_id = json.loads(run.folder.read("mlflow.json"))["run_id"]
    points = mlflow.MlflowClient(uri).get_metric_history(run_id, "train/total")
    return sorted((point.step, point.value) for point in points)


def assert_undisturbed(result, trained):
    """Curve, weights, predictions and checkpoints are those of the run `trained`, and every step is there once."""
    run, other = result.run, trained.run
    assert curve(run) == curve(other) == history(run, result.tracking_uri)
    assert [step for step, _ in curve(run)] == list(range(1, 7))
    assert run.model.read("model.safetensors") == other.model.read("model.safetensors")
    assert run.read_table("predictions.parquet").equals(other.read_table("predictions.parquet"))
    assert checkpoint_steps(run.checkpoints) == checkpoint_steps(other.checkpoints) == [3, 6]
    for step in (3, 6):
        assert read_checkpoint(run.checkpoints, step) == read_checkpoint(other.checkpoints, step)
    assert result.model_version


def wait_for(condition, deadline_s=240):
    """The first value of a condition that is true."""
    end_s = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end_s, "what the test waits for did not come"
        time.sleep(0.05)
    return value


@pytest.fixture
def bucket_root(s3, tiny_root, tmp_path):
    """The tiny videos in the bucket: key of their folder."""
    for file in list_files(str(tiny_root)):
        system, path = filesystem(f"{s3}/{tmp_path.name}/tiny/{file.name}")
        with system.open_output_stream(path) as stream:
            stream.write((tiny_root / file.name).read_bytes())
    return f"{s3}/{tmp_path.name}"


def faults_of_a_bad_day(number, command, path, turns, throttled, outage):
    """Every 15th request fails somehow, first reads of videos are throttled, the first checkpoint finds no store."""
    if command == "PUT" and "step_00000003/optimizer" in path:
        return next(outage, None)
    if command == "GET" and ".mp4" in path and (throttle := next(throttled, None)):
        return throttle
    return next(turns) if number % 15 == 0 else None


@pytest.mark.parametrize("dead_s", [5.0, pytest.param(30.0, marks=pytest.mark.slow)])
def test_a_store_that_throttles_fails_stalls_and_dies_shows_in_nothing(
    cluster, tiny, trained, bucket_root, proxied_s3, tmp_path, dead_s
):
    plan = {
        "turns": itertools.chain(
            ["500", "503", "cut", "half", "stall"], itertools.cycle(["500", "503", "cut", "half"])
        ),
        "throttled": iter(["503"] * 5),
        "outage": iter(["dead"]),
    }
    proxy = proxied_s3(lambda *request: faults_of_a_bad_day(*request, **plan), dead_s=dead_s)
    experiment = with_overrides(tiny, {"data.root": f"{bucket_root}/tiny{proxy.options}", "data.dataset": "tiny"})
    tracking = f"sqlite:///{tmp_path / 'mlflow.db'}"
    settings = Settings(storage=f"{bucket_root}/runs{proxy.options}", tracking_uri=tracking)
    result = train_test_register(experiment, settings)
    assert {fault for _, _, fault in proxy.failures} == {"500", "503", "cut", "half", "stall", "dead"}
    assert sum(fault == "503" for _, _, fault in proxy.failures) > 5
    _, refused, _ = next(failure for failure in proxy.failures if failure[2] == "dead")
    assert ("PUT", refused) in proxy.answered  # after the store had come back
    assert_undisturbed(result, trained)


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a file system of a given size; gives its folder, and a way to make it larger."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    place = tmp_path / "disk"
    place.mkdir()

    def mount(size_bytes, *options):
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size_bytes}", *options]), "tmpfs", place], check=True
        )
        return place

    yield mount
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_one_sentence_and_no_half_file(small_disk):
    place = small_disk(1_048_576)
    folder = Folder(str(place))
    folder.write("file", b"old" * 1000)
    with pytest.raises(
        BadInput, match=r"no room for .*/disk/file: it takes 2 MB, and .*/disk has 1\.04 MB free"
    ) as error:
        folder.write("file", bytes(2_000_000))
    assert "\n" not in str(error.value)
    assert folder.read("file") == b"old" * 1000
    assert os.listdir(place) == ["file"]


@pytest.mark.slow
def test_a_disk_that_fills_up_ends_the_run_which_goes_on_when_there_is_room(
    cluster, tiny, trained, small_disk, tmp_path
):
    checkpoint_bytes = sum(file.bytes for file in list_files((trained.run.checkpoints / "step_00000003").uri))
    place = small_disk(int(1.6 * checkpoint_bytes) + 500_000)
    settings = Settings(storage=str(place), tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    with pytest.raises(BadInput, match=r"no room for .*step_00000006.*make room and run the same command again"):
        train_test_register(tiny, settings)
    (folder,) = place.glob("*/split1/*")
    found = latest_checkpoint(Folder(str(folder / "checkpoints")))
    assert found is not None
    assert found[0] == 3
    assert not [*folder.glob(".*"), *(folder / "checkpoints").rglob(".*")]  # no draft takes the room
    small_disk(2**28, "remount")
    assert_undisturbed(train_test_register(tiny, settings), trained)


@pytest.fixture
def spoilt(trained, tiny_root, tmp_path):
    """Manifest of a copy of the videos, and the ids of three of them.

    One for training was deleted and one cut off, one for validation emptied.
    """
    shutil.copytree(tiny_root, tmp_path / "videos")
    rows = trained.run.read_table("manifest.parquet").to_pylist()
    for row in rows:
        row["path"] = str(tmp_path / "videos" / Path(row["path"]).relative_to(tiny_root))
    manifest = pa.Table.from_pylist(rows, trained.run.read_table("manifest.parquet").schema)
    train_rows, val_rows = subset(manifest, "train").to_pylist(), subset(manifest, "val").to_pylist()
    deleted, cut = train_rows[0], next(row for row in train_rows if row["label"] != train_rows[0]["label"])
    Path(deleted["path"]).unlink()
    Path(cut["path"]).write_bytes(Path(cut["path"]).read_bytes()[:1000])
    Path(val_rows[0]["path"]).write_bytes(b"")
    return manifest, [row["video_id"] for row in (deleted, cut, val_rows[0])]


@pytest.fixture
def new_run(tiny, tmp_path):
    return Run("run", Folder(str(tmp_path / "run")), tiny)


def test_another_video_of_the_class_stands_in_for_one_that_became_unreadable(cluster, tiny, spoilt, new_run):
    manifest, (deleted, cut, _) = spoilt
    settings, videos = Settings(max_unreadable_share=0.5), subset(manifest, "train").to_pylist()
    log, plan = unreadable.open_log(new_run.folder, manifest, settings), make_plan(manifest, tiny)
    found = {(row["step"], row["slot"]): row for row in train_clips(manifest, tiny, 0, 1, 0, log).take_all()}
    gone, replaced = {deleted: "missing", cut: "truncated"}, {}
    for row in itertools.chain(*map(plan.rows, range(plan.steps))):
        taken = row
        if videos[row.video]["video_id"] in gone:
            taken = next(each for each in plan.replacements(row) if videos[each.video]["video_id"] not in gone)
            replaced[row.step + 1, row.slot] = videos[row.video]["video_id"], videos[taken.video]["video_id"]
        clip = found.pop((row.step, row.slot))
        assert clip["label"] == videos[row.video]["label"] == videos[taken.video]["label"]
        assert np.array_equal(clip["clip"], load_clip(videos[taken.video]["path"], taken, tiny.data))
    assert not found

    validated = centre_clips(manifest, tiny, "val", log=log).take_all()
    assert [row["video"] for row in validated] == list(range(1, subset(manifest, "val").num_rows))
    lines = [json.loads(line) for line in new_run.folder.read("unreadable.jsonl").splitlines()]
    planned = {(line["step"], line["slot"]): line for line in lines if line["subset"] == "train" and line["step"]}
    first = {place: planned[place] for place in replaced if planned[place]["video_id"] == replaced[place][0]}
    assert {place: (line["video_id"], line["replaced_by"]) for place, line in first.items()} == replaced
    assert all(line["reason"].startswith(gone.get(line["video_id"], "empty")) for line in lines)
    assert unreadable.counts(new_run.folder) == {"unreadable_videos": 3, "replaced_clips": len(replaced)}


def test_more_unreadable_videos_than_allowed_stop_the_training_at_once(cluster, spoilt, new_run):
    manifest, videos = spoilt
    with pytest.raises(BadInput, match=r"of 16 videos can no longer be read .*put the files back") as error:
        train(new_run, manifest, 2, Settings(max_failures=9), use_gpu=False)
    assert any(video in str(error.value) for video in videos)
    assert "\n" not in str(error.value)


def test_a_store_that_refuses_is_no_unreadable_video(cluster, tiny, trained, new_run, bucket_root, proxied_s3):
    proxy = proxied_s3(lambda *_: "403")
    recorded = trained.run.read_table("manifest.parquet")
    rows = [row | {"path": f"{bucket_root}/tiny/x.mp4{proxy.options}"} for row in recorded.to_pylist()]
    manifest = pa.Table.from_pylist(rows, recorded.schema)
    log = unreadable.open_log(new_run.folder, manifest, Settings(max_unreadable_share=1.0))
    with pytest.raises(RayTaskError, match="ACCESS_DENIED"):
        train_clips(manifest, tiny, 0, 1, 0, log).take_all()
    assert unreadable.read(new_run.folder) == []


@pytest.mark.slow
def test_with_its_files_put_back_a_run_goes_on_and_is_the_undisturbed_one(cluster, tiny_root, trained, spoilt, new_run):
    manifest, _ = spoilt
    with pytest.raises(BadInput, match="can no longer be read"):
        train(new_run, manifest, 2, Settings(), use_gpu=False)
    for row in subset(manifest, "train").to_pylist() + subset(manifest, "val").to_pylist():
        shutil.copy(tiny_root / row["video_id"], row["path"])
    train(new_run, manifest, 2, Settings(), use_gpu=False)
    assert curve(new_run) == curve(trained.run)
    assert unreadable.read(new_run.folder) == []
    for step in (3, 6):
        assert read_checkpoint(new_run.checkpoints, step) == read_checkpoint(trained.run.checkpoints, step)


@pytest.mark.slow
def test_two_workers_train_to_the_end_with_what_is_left(cluster, spoilt, new_run):
    manifest, videos = spoilt
    train(new_run, manifest, 2, Settings(workers=2, max_unreadable_share=0.2), use_gpu=False)
    assert [step for step, _ in curve(new_run)] == list(range(1, 7))
    assert np.isfinite([loss for _, loss in curve(new_run)]).all()
    assert {clip.video_id for clip in unreadable.read(new_run.folder)} == set(videos)
    validated = next(record["metrics"] for record in new_run.read_metrics() if record["kind"] == "val")
    assert validated["clips"] == subset(manifest, "val").num_rows - 1


def test_a_test_clip_that_cannot_be_read_stops_the_test(cluster, tiny, trained, spoilt):
    manifest, _ = spoilt
    first = subset(manifest, "test").to_pylist()[0]["path"]
    Path(first).unlink()
    with pytest.raises(BadInput, match=r"cannot be read: missing.*The test needs every clip") as error:
        predict_subset(manifest, trained.run.model, tiny, "test", 1, use_gpu=False)
    assert first in str(error.value)
    assert "\n" not in str(error.value)


class Server:
    """A real MLflow server on loopback, which can be killed and started again on its port."""

    def __init__(self, place):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.uri, self.process = f"http://127.0.0.1:{port}", None
        store, artifacts = f"sqlite:///{place / 'server.db'}", str(place / "artifacts")
        self.command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--backend-store-uri",
            store,
            "--artifacts-destination",
        ]
        self.command += [artifacts, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]

    def start(self):
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self.process = subprocess.Popen(
            self.command,
            env=environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self.answers)

    def answers(self):
        try:
            return urlopen(f"{self.uri}/health", timeout=5).status == 200
        except (URLError, OSError):
            return False

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
def test_training_goes_on_without_mlflow_and_its_records_are_complete_when_it_is_back(cluster, tiny, server, tmp_path):
    """Nobody listens when training begins; the server starts, is killed when it holds steps, and comes back."""
    experiment = with_overrides(tiny, {"optim.epochs": 150})
    seen = []

    def steps():
        (place,) = list((tmp_path / "runs").glob("*/split1/*")) or [None]
        if place is None or not (place / "metrics.jsonl").exists():
            return 0
        return sum('"train"' in line for line in (place / "metrics.jsonl").read_text().splitlines())

    def held():
        client = mlflow.MlflowClient(server.uri)
        ids = [each.experiment_id for each in client.search_experiments()]
        return [run for run in client.search_runs(ids) if "train/total" in run.data.metrics]

    def disturb():
        seen.append(wait_for(steps))
        server.start()
        wait_for(held)
        server.kill()
        seen.append(steps())
        wait_for(lambda: steps() > seen[-1])
        seen.append(steps())
        server.start()

    thread = threading.Thread(target=disturb)
    thread.start()
    settings = Settings(storage=str(tmp_path / "runs"), tracking_uri=server.uri)
    result = train_test_register(experiment, settings)
    thread.join()
    assert 0 < seen[0] <= seen[1] < seen[2] < 450
    assert history(result.run, server.uri) == curve(result.run)
    assert [step for step, _ in curve(result.run)] == list(range(1, 451))
    assert result.model_version.endswith("version 1")
    assert len(held()) == 1


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
