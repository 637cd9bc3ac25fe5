"""Ray Train runs DDP over enhancer and classifier: gloo on CPUs, NCCL on GPUs, one code path.

Every worker takes its slots of each global batch of the plan. Rank 0 writes metrics.jsonl and, at the
end of each epoch, a checkpoint. Workers that start, for the first time or again, go on from the last
committed checkpoint of the run folder.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from typing import Any

import pyarrow as pa
import ray.data
import ray.train
import torch
import torch.distributed as dist
from ray.data import DataIterator
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device, prepare_model
from torch import Tensor, nn

from components.halt import NOT_FINITE, check_not_halted, finite, halt
from components.ingest import PlanShards, make_plan, subset
from components.runs import Run
from components.settings import Settings
from components.storage import Folder, latest_checkpoint, prune_checkpoints, read_checkpoint, write_checkpoint
from components.teachers import find_teachers, load_teachers
from dtcm import checkpoint, ema, metrics
from dtcm.config import Experiment
from dtcm.models.batchnorm import synchronized
from dtcm.models.dtcm import build
from dtcm.options import check_training
from dtcm.recompute import recompute
from dtcm.schedule import rate_factor, set_rates
from dtcm.seeding import seed_everything
from dtcm.step import make_optimizer, predict, set_trained, train_step, trained_part

Record = dict[str, Any]


@dataclass
class Progress:
    """How far a training is; stored with each checkpoint."""

    step: int = 0
    """Steps done."""
    best_step: int = 0
    """Steps done at the end of the best epoch."""
    best_score: tuple[float, ...] = (-1.0,)
    """Of the best epoch: accuracy on the validation part, then minus its cross-entropy."""


def train(run: Run, manifest: pa.Table, num_classes: int, settings: Settings, use_gpu: bool) -> None:
    """Train a run to its last epoch, from its last committed checkpoint if it has one.

    Raises BadInput for options that cannot be, teachers that do not fit and a loss that is not finite, and
    ray.train.TrainingFailedError if workers fail more often than the settings allow.
    """
    if next_step(run.checkpoints) >= make_plan(manifest, run.experiment).steps:
        return
    check_training(run.experiment, settings.workers)
    class_names = dict(zip(manifest["label"].to_pylist(), manifest["class_name"].to_pylist(), strict=True))
    job = {"run": run, "manifest": manifest, "num_classes": num_classes, "settings": settings}
    job["teachers"] = find_teachers(run.experiment, class_names)
    run.folder.remove(NOT_FINITE)
    streams = ["train", "val"] if subset(manifest, "val").num_rows else ["train"]
    trainer = TorchTrainer(
        train_worker,
        train_loop_config=job,
        scaling_config=ScalingConfig(num_workers=settings.workers, use_gpu=use_gpu),  # ty: ignore[invalid-argument-type]
        # What a worker reads is decided rank by rank in PlanShards; these only name the streams.
        datasets={name: ray.data.range(1) for name in streams},
        dataset_config=PlanShards(manifest, run.experiment, partial(next_step, run.checkpoints)),
        run_config=RunConfig(  # ty: ignore[invalid-argument-type]
            name="ray",
            storage_path=run.folder.uri,
            # Threads that spin while they wait for each other lose most of their time where decoders share the cores.
            worker_runtime_env={"env_vars": {"OMP_WAIT_POLICY": "PASSIVE"}},  # ty: ignore[unknown-argument]
            failure_config=FailureConfig(max_failures=settings.max_failures),  # ty: ignore[invalid-argument-type]
        ),
    )
    trainer.fit()
    check_not_halted(run)


def next_step(checkpoints: Folder) -> int:
    """The step that a training goes on with: as many as its last committed checkpoint has done."""
    latest = latest_checkpoint(checkpoints)
    return latest[0] if latest else 0


def best_weights(run: Run) -> bytes:
    """The weights of the best epoch, as safetensors."""
    latest = latest_checkpoint(run.checkpoints)
    if latest is None:
        raise FileNotFoundError(f"{run.folder.uri} has no committed checkpoint")
    best = checkpoint.read_progress(latest[1])["best_step"]
    files = latest[1] if best == latest[0] else read_checkpoint(run.checkpoints, best)
    if files is None:
        raise FileNotFoundError(f"the best checkpoint of {run.folder.uri}, step {best}, is damaged or gone")
    return checkpoint.weights_to_use(files)


def train_worker(job: dict[str, Any]) -> None:
    """What each Train worker does: resume, step through the plan, and close every epoch."""
    run, settings = job["run"], job["settings"]
    experiment: Experiment = run.experiment
    loss, optim = experiment.loss, experiment.optim
    worker = ray.train.get_context()
    rank, world = worker.get_world_rank(), worker.get_world_size()
    torch.set_num_threads(settings.threads or max(1, (os.cpu_count() or 1) // worker.get_local_world_size()))
    seed_everything(experiment.seed)

    model = build(experiment.model, job["num_classes"], experiment.data.frames, experiment.data.crop_px)
    if world > 1:
        model = synchronized(model, get_device())
    model.to(get_device())
    average = ema.averaged(model) if optim.ema else None
    if optim.checkpointing:
        recompute(model)
    optimizer = make_optimizer(model, optim)
    progress, records = _resume(run, model, optimizer, average)
    teachers = load_teachers(job["teachers"], get_device())
    step = partial(train_step, config=loss, accumulate=optim.accumulate, clip_norm=optim.clip_norm, teachers=teachers)
    plan = make_plan(job["manifest"], experiment)
    trained, parallel = None, model
    validation = _materialized_validation(job["manifest"])

    slots = len(range(rank, plan.batch, world))
    last_flush_s = last_step_s = time.monotonic()
    for batch in _batches("train", slots):
        wait_s = time.monotonic() - last_step_s
        if int(batch["step"][0]) != progress.step:
            raise RuntimeError(f"got the clips of step {int(batch['step'][0])} for step {progress.step}")
        if (now_trained := trained_part(experiment, progress.step // plan.steps_per_epoch)) != trained:
            trained = now_trained
            set_trained(model, trained)
            parallel = prepare_model(model)  # again for another stage: DDP takes the parameters that need gradients
        set_trained(model, trained)
        share = slots * world / plan.batch
        set_rates(optimizer, rate_factor(experiment, progress.step, plan.steps_per_epoch))
        parts = step(parallel, optimizer, batch["clip"], batch["label"], share=share, trained=trained)
        parts = _mean_over_workers(parts, share, world)
        progress.step += 1
        ends_epoch = progress.step % plan.steps_per_epoch == 0
        if not finite(parts, model if ends_epoch else None):
            if rank == 0:
                run.write_metrics(records)
                halt(run, job["manifest"], plan.rows(progress.step - 1), parts)
            return
        if average is not None:
            ema.update(average, model, progress.step, optim.ema)
        now_s = time.monotonic()
        timing = {"step_s": now_s - last_step_s, "wait_s": wait_s}
        last_step_s = now_s
        records.append(_record("train", progress.step, plan.steps_per_epoch, {**parts, **timing}))
        if ends_epoch:
            classifies = trained != "enhancer"  # in the first of two stages there is nothing to choose by
            used = model if average is None else average
            scores = _validate(used, validation, optim.batch) if validation and classifies else {}
            if classifies:
                _choose(progress, scores)
            _close_epoch(run, model, optimizer, average, progress, records, scores, settings)
            last_step_s = last_flush_s = time.monotonic()
        elif rank == 0 and now_s - last_flush_s > (2 if run.folder.is_local else 60):
            run.write_metrics(records)
            last_flush_s = now_s


def _resume(
    run: Run, model: nn.Module, optimizer: torch.optim.Optimizer, average: nn.Module | None
) -> tuple[Progress, list[Record]]:
    """The state of the last committed checkpoint, and the records up to it."""
    latest = latest_checkpoint(run.checkpoints)
    if latest is None:
        return Progress(), []
    values = checkpoint.unpack(latest[1], model, optimizer, average)
    progress = Progress(values["step"], values["best_step"], tuple(values["best_score"]))
    return progress, [record for record in run.read_metrics() if record["step"] <= progress.step]


def _choose(progress: Progress, scores: dict[str, float]) -> None:
    """Make the epoch the best one if it is, by its validation scores; without any, because it is the latest."""
    score = (scores["top1"], -scores["cross_entropy"]) if scores else (float(progress.step),)
    if score > progress.best_score:
        progress.best_step, progress.best_score = progress.step, score


def _close_epoch(
    run: Run,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: nn.Module | None,
    progress: Progress,
    records: list[Record],
    scores: dict[str, float],
    settings: Settings,
) -> None:
    """Keep the epoch's records and checkpoint, report. Every rank calls it, since report is a barrier."""
    records.append({**records[-1], "kind": "val", "time_s": time.time(), "metrics": scores})
    if ray.train.get_context().get_world_rank() == 0:
        # Records first: a committed checkpoint always finds its own lines in metrics.jsonl.
        run.write_metrics(records)
        write_checkpoint(run.checkpoints, progress.step, checkpoint.pack(model, optimizer, asdict(progress), average))
        prune_checkpoints(run.checkpoints, settings.keep_checkpoints, progress.best_step)
    ray.train.report(scores)


def _validate(model: nn.Module, clips: DataIterator, batch: int) -> dict[str, float]:
    """Figures over the validation part; each clip counts once, whatever the number of workers."""
    model.eval()
    found = [
        (label, logits, inconsistency)
        for rows in clips.iter_torch_batches(batch_size=batch, prefetch_batches=2)
        for label, logits, inconsistency in zip(rows["label"].cpu(), *predict(model, rows["clip"]), strict=True)
    ]
    gathered: list[list[tuple[Tensor, Tensor, Tensor]]] = [[]] * dist.get_world_size()
    dist.all_gather_object(gathered, found)
    labels, logits, inconsistency = (torch.stack(column) for column in zip(*chain(*gathered), strict=True))
    cross_entropy = float(nn.functional.cross_entropy(logits, labels))
    return {**metrics.summary(logits.numpy(), labels.numpy(), inconsistency.numpy()), "cross_entropy": cross_entropy}


def _materialized_validation(manifest: pa.Table) -> DataIterator | None:
    """Validation clips are the same in every epoch: decoded once, kept in the object store."""
    if not subset(manifest, "val").num_rows:
        return None
    return ray.train.get_dataset_shard("val").materialize().iterator()


def _batches(name: str, batch_size: int) -> Iterator[dict[str, Tensor]]:
    """Batches of a stream as tensors, uint8 clips already on this worker's device."""
    yield from ray.train.get_dataset_shard(name).iter_torch_batches(batch_size=batch_size, prefetch_batches=2)


def _mean_over_workers(parts: dict[str, float], share: float, world: int) -> dict[str, float]:
    """Means over the global batch, weighted by how many of its clips each worker had."""
    if world == 1:
        return parts
    values = torch.tensor(list(parts.values()), device=get_device()) * share / world
    dist.all_reduce(values)
    return dict(zip(parts, values.tolist(), strict=True))


def _record(kind: str, step: int, steps_per_epoch: int, values: dict[str, float]) -> Record:
    """A line of metrics.jsonl. Steps and epochs count what is done: the first step is step 1 of epoch 1."""
    epoch = -(-step // steps_per_epoch)
    return {"kind": kind, "step": step, "epoch": epoch, "time_s": time.time(), "metrics": values}
