"""Ray Train runs DDP over enhancer and classifier: gloo on CPUs, NCCL on GPUs, one code path.

This is the driver's side: it starts the workers, whose side is `components.worker`, replaces those that are lost,
and tells the ways apart in which a training ends.
"""

from functools import partial

import pyarrow as pa
import ray.data
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer

from components.cluster import reserved
from components.giving_up import GiveUp, in_words
from components.halt import NOT_FINITE, check_not_halted
from components.ingest import PlanShards, make_plan, subset
from components.notice import STOP, NoticeConfig, check_not_stopped, run_stoppable
from components.runs import Run
from components.settings import Settings
from components.storage import Folder, latest_checkpoint
from components.teachers import find_teachers
from components.unreadable import check_budget, open_log
from components.worker import Job, train_worker
from dtcm import checkpoint
from dtcm.options import check_training


def train(run: Run, manifest: pa.Table, num_classes: int, settings: Settings, use_gpu: bool) -> None:
    """Train a run to its last epoch, from its last committed checkpoint if it has one.

    Raises BadInput for options that cannot be, teachers that do not fit, a loss that is not finite, a full disk and too
    many videos that became unreadable, Stopped if told to stop, and ray.train.TrainingFailedError if workers fail more
    often than the settings allow.
    """
    if next_step(run.checkpoints) >= make_plan(manifest, run.experiment).steps:
        return
    check_training(run.experiment, settings.workers)
    class_names = dict(zip(manifest["label"].to_pylist(), manifest["class_name"].to_pylist(), strict=True))
    job = Job(run, manifest, num_classes, settings, find_teachers(run.experiment, class_names))
    run.folder.remove(NOT_FINITE)
    run.folder.remove(STOP)
    log = open_log(run.folder, manifest, settings)
    begin = partial(next_step, run.checkpoints)
    streams = ["train", "val"] if subset(manifest, "val").num_rows else ["train"]
    trainer = TorchTrainer(
        partial(train_worker, job),
        torch_config=NoticeConfig(),
        scaling_config=ScalingConfig(  # ty: ignore[invalid-argument-type]
            num_workers=settings.workers, use_gpu=use_gpu, resources_per_worker=reserved(settings, use_gpu)
        ),
        # What a worker reads is decided rank by rank in PlanShards; these only name the streams.
        datasets={name: ray.data.range(1) for name in streams},
        dataset_config=PlanShards(manifest, run.experiment, begin, log, settings.clip_cache),
        run_config=RunConfig(  # ty: ignore[invalid-argument-type]
            name="ray",
            storage_path=run.folder.uri,
            # Threads that spin while they wait for each other lose most of their time where decoders share the cores.
            worker_runtime_env={"env_vars": {"OMP_WAIT_POLICY": "PASSIVE"}},  # ty: ignore[unknown-argument]
            failure_config=FailureConfig(max_failures=settings.max_failures),  # ty: ignore[invalid-argument-type]
            callbacks=[GiveUp(partial(check_budget, log, run.folder, manifest, settings))],  # ty: ignore[invalid-argument-type]
        ),
    )
    try:
        run_stoppable(run, trainer.fit)
    except TrainingFailedError as error:
        raise in_words(error) from error
    check_not_halted(run)
    check_not_stopped(run, next_step(run.checkpoints))


def next_step(checkpoints: Folder) -> int:
    """The step that a training goes on with: as many as its last committed checkpoint has done."""
    latest = latest_checkpoint(checkpoints)
    return latest[0] if latest else 0


def best_weights(run: Run) -> bytes:
    """The weights of the best epoch, as safetensors."""
    latest = latest_checkpoint(run.checkpoints)
    if latest is None:
        raise FileNotFoundError(f"{run.folder.uri} has no committed checkpoint")
    return checkpoint.best_weights(latest[1])
