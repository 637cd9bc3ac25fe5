"""Store and disk fail while a training runs, and its result is that of the undisturbed one."""

import itertools
import os
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import pyarrow as pa
import pytest

from components.ingest import subset
from components.parts import Parts
from components.registry import Tracker
from components.runs import Run
from components.saver import Saver
from components.settings import Settings
from components.storage import Folder, checkpoint_steps, latest_checkpoint, read_checkpoint
from components.workflow import train_test_register
from dtcm.config import Experiment, with_overrides
from dtcm.data.files import list_files
from dtcm.data.records import MANIFEST
from dtcm.errors import BadInput
from tests.support.runs import assert_in_mlflow, assert_undisturbed, curve, history, records

READS_FAIL = ["500", "503", "cut", "half"]
WRITES_FAIL = ["500", "503", "cut", "lost"]


class BadDay:
    """Every 15th request fails somehow, the index's first reads are throttled, the first checkpoint finds no store.

    Once training has its run folder, every kind of failure comes to a video of its own, one that is for training, and
    to a file of a checkpoint.
    """

    def __init__(self, videos, stall, outage):
        self.videos, self.trains, self.met = videos, False, set()
        self.turns = itertools.chain(READS_FAIL, stall, itertools.cycle(READS_FAIL))
        self.throttled, self.outage = iter(["503"] * 5), iter(outage)
        self.of_videos, self.of_checkpoints = iter([*READS_FAIL, *stall]), iter([*WRITES_FAIL, *stall])

    def __call__(self, number, command, path):
        file = urlsplit(path).path
        self.trains |= command == "PUT" and file.endswith("/config.json")
        if command == "PUT" and "step_00000003/optimizer" in file and (dead := next(self.outage, None)):
            return dead
        if command == "GET" and ".mp4" in file and (throttle := next(self.throttled, None)):
            return throttle
        if self.trains and file not in self.met and (fault := self.of_training(command, file)):
            self.met.add(file)
            return fault
        return next(self.turns) if number % 15 == 0 else None

    def of_training(self, command, file):
        """The next fault for a video or a checkpoint, as long as there are some."""
        if command == "PUT" and "/step_" in file:
            return next(self.of_checkpoints, None)
        return next(self.of_videos, None) if command == "GET" and file.endswith(self.videos) else None


@pytest.mark.parametrize("worst", [[], pytest.param(["stall", "dead"], marks=pytest.mark.slow)])
def test_a_store_that_throttles_fails_stalls_and_dies_shows_in_nothing(
    cluster, tiny, trained, bucket_root, proxied_s3, tmp_path, worst
):
    stall, outage = worst[:1], worst[1:]
    videos = tuple(subset(trained.run.read_table("manifest.parquet"), "train")["video_id"].to_pylist())
    proxy = proxied_s3(BadDay(videos, stall, outage), dead_s=30.0)
    experiment = with_overrides(tiny, {"data.root": f"{bucket_root}/tiny{proxy.options}", "data.dataset": "tiny"})
    tracking = f"sqlite:///{tmp_path / 'mlflow.db'}"
    settings = Settings(storage=f"{bucket_root}/runs{proxy.options}", tracking_uri=tracking)
    result = train_test_register(experiment, settings)
    assert sum(fault == "503" for _, _, fault in proxy.failures) > 5
    for refused in (path for _, path, fault in proxy.failures if fault == "dead"):
        assert ("PUT", refused) in proxy.answered  # after the store had come back
    assert_training_met(proxy, videos, stall, outage)
    assert_undisturbed(result, trained)


def assert_training_met(proxy, videos, stall, outage):
    """Each kind of failure, at videos that are for training alone and at checkpoints, once the run had its folder."""
    failures = [(command, urlsplit(path).path, fault) for command, path, fault in proxy.failures_after("/config.json")]
    at_videos = {fault for command, file, fault in failures if command == "GET" and file.endswith(videos)}
    at_checkpoints = {fault for command, file, fault in failures if command == "PUT" and "/step_" in file}
    assert at_videos >= {*READS_FAIL, *stall}
    assert at_checkpoints >= {*WRITES_FAIL, *stall, *outage}


def test_rows_for_which_a_disk_has_no_room_end_the_run_in_one_sentence(small_disk):
    folder = Folder(str(small_disk(65_536)))

    def find():
        with Parts(folder, pa.schema([("path", pa.binary())])) as parts:
            parts.add({"path": os.urandom(500_000)})

    with pytest.raises(BadInput, match="no room for"):
        find()
    assert folder.names() == []


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


def test_a_checkpoint_without_room_for_all_of_it_takes_none_and_the_next_one_holds_what_it_held(small_disk, capsys):
    place = small_disk(1_048_576)
    run = Run("run", Folder(str(place)), Experiment())
    saver, weights = Saver(run, keep=2), os.urandom(450_000)
    saver.save(1, {"weights": weights}, best_step=1, records=[{"step": 1}])
    saver.save(2, {"weights": weights, "optimizer": weights}, best_step=1, records=[{"step": 1}, {"step": 2}])
    saver.wait()
    assert saver.failures == 1
    assert "The checkpoint of step 2 could not be written (There is no room for" in capsys.readouterr().out
    assert checkpoint_steps(run.checkpoints) == [1]
    small_disk(2**24, "remount")
    saver.save(3, {"weights": weights, "optimizer": weights}, best_step=3, records=[{"step": n} for n in (1, 2, 3)])
    saver.finish()
    assert saver.failures == 0
    assert checkpoint_steps(run.checkpoints) == [1, 3]
    assert run.read_metrics() == [{"step": 1}, {"step": 2}, {"step": 3}]


def test_records_that_found_no_room_are_written_when_there_is_some(small_disk):
    place = small_disk(65_536)
    ballast = place / "ballast"
    ballast.write_bytes(bytes(61_440))
    run = Run("run", Folder(str(place)), Experiment())
    saver, first = Saver(run, keep=2), [{"step": step} for step in range(1_000)]
    saver.look(first)
    saver.finish()
    assert run.read_metrics() == []
    ballast.unlink()
    saver.look([*first, {"step": 1_000}])
    saver.finish()
    assert run.read_metrics() == [*first, {"step": 1_000}]


def test_a_run_of_mlflow_that_could_not_be_written_down_is_when_there_is_room(small_disk, tmp_path, capsys):
    folder, uri = Folder(str(small_disk(65_536))), f"sqlite:///{tmp_path / 'mlflow.db'}"
    run, record = Run("run", folder, Experiment()), {"kind": "train", "step": 1, "time_s": 0.0, "metrics": {"total": 2}}
    folder.write("environment.json", b'{"git_commit": "abc", "git_dirty": false}')
    run.write_table("manifest.parquet", MANIFEST.empty_table())
    ballast = Path(folder.uri) / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    tracker = Tracker(run, uri)
    assert not tracker.sync([record])
    assert "There is no room for" in capsys.readouterr().out
    ballast.unlink()
    assert tracker.sync([record])
    assert history(run, uri) == [(1, 2)]
    client = mlflow.MlflowClient(uri)
    assert len(client.search_runs([client.get_run(tracker.run_id).info.experiment_id])) == 1


@pytest.mark.slow
def test_a_training_goes_on_over_a_full_disk_and_misses_nothing(cluster, tiny, small_disk, tmp_path):
    experiment = with_overrides(tiny, {"optim.epochs": 5})
    calm = train_test_register(experiment, Settings(storage=str(tmp_path / "calm")))
    checkpoint_bytes = sum(file.bytes for file in list_files((calm.run.checkpoints / "step_00000012").uri))
    place = small_disk(int(1.6 * checkpoint_bytes) + 500_000)
    is_over = threading.Event()

    def make_room():
        """As soon as a record tells of a checkpoint that was missed."""
        while not is_over.wait(0.02):
            for path in place.glob("*/split1/*/metrics.jsonl"):
                if b'"failed_saves"' in path.read_bytes():
                    small_disk(2**28, "remount")
                    return

    watcher = threading.Thread(target=make_room)
    watcher.start()
    try:
        result = train_test_register(
            experiment, Settings(storage=str(place), tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
        )
    finally:
        is_over.set()
        watcher.join()
    run = result.run
    found = records(run)
    missed = [figures.pop("failed_saves", 0) for _, _, figures in found]
    assert found == records(calm.run)
    assert 1 in missed
    assert missed[-1] == 0
    assert [step for step, _ in curve(run)] == list(range(1, 16))
    assert_in_mlflow(run, result.tracking_uri)
    assert run.model.read("model.safetensors") == calm.run.model.read("model.safetensors")
    assert run.read_table("predictions.parquet").equals(calm.run.read_table("predictions.parquet"))
    assert read_checkpoint(run.checkpoints, 15)
    assert read_checkpoint(run.checkpoints, 15) == read_checkpoint(calm.run.checkpoints, 15)


@pytest.mark.slow
def test_a_disk_that_fills_up_ends_the_run_which_goes_on_when_there_is_room(
    cluster, tiny, trained, small_disk, tmp_path
):
    checkpoint_bytes = sum(file.bytes for file in list_files((trained.run.checkpoints / "step_00000003").uri))
    place = small_disk(int(1.6 * checkpoint_bytes) + 500_000)
    settings = Settings(storage=str(place), tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    with pytest.raises(
        BadInput, match=r"no room for .*step_00000006.*make room\. What has ended for it goes on by the same"
    ):
        train_test_register(tiny, settings)
    (folder,) = place.glob("*/split1/*")
    found = latest_checkpoint(Folder(str(folder / "checkpoints")))
    assert found is not None
    assert found[0] == 3
    assert not [*folder.glob(".*"), *(folder / "checkpoints").rglob(".*")]  # no draft takes the room
    small_disk(2**28, "remount")
    assert_undisturbed(train_test_register(tiny, settings), trained)
