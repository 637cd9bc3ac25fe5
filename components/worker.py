"""What each Train worker does: resume, step through the plan, close every epoch, and end early where it is told to.

Every worker takes its slots of each global batch of the plan. Rank 0 also keeps metrics.jsonl and the checkpoints.
Workers that start, for the first time or again, go on from the last committed checkpoint of the run folder.
"""

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain

import pyarrow as pa
import ray.train
import torch
import torch.distributed as dist
from ray.data import DataIterator
from ray.train.torch import get_device, prepare_model
from torch import Tensor, nn

from components import notice
from components.halt import finite, halt
from components.ingest import make_plan, subset
from components.runs import Run
from components.saver import Saver
from components.settings import Settings
from components.state import State, begin
from components.storage import Folder, latest_checkpoint
from components.teachers import load_teachers
from dtcm import ema, metrics
from dtcm.errors import BadInput
from dtcm.heap import keep_freed_memory
from dtcm.losses import Trained
from dtcm.schedule import rate_factor, set_rates
from dtcm.seeding import seed_everything, seed_step
from dtcm.step import predict, set_trained, train_step, trained_part

DDP = {"broadcast_buffers": False, "gradient_as_bucket_view": True}
"""Batch statistics are over all workers already."""
LOOK_EVERY_S = 2
"""How often workers look up from their steps: is there notice of an end, are there records to write."""
FLUSH_EVERY_S = 60
"""How often records are written within an epoch where the run folder is not on disk."""
RECORDS_PER_S = 1000
"""As many of them a second at the most where it is."""


@dataclass(frozen=True)
class Job:
    """What all workers of a training are given."""

    run: Run
    manifest: pa.Table
    num_classes: int
    settings: Settings
    teachers: list[Folder]


def train_worker(job: Job) -> None:
    """Train to the last step, to one that is not finite, or until told to end."""
    Worker(job).train()


class Worker:
    """One of the processes of a training, with its replica of the state."""

    def __init__(self, job: Job) -> None:
        self.job, self.run, self.experiment = job, job.run, job.run.experiment
        context = ray.train.get_context()
        self.rank, self.world = context.get_world_rank(), context.get_world_size()
        torch.set_num_threads(job.settings.threads or max(1, (os.cpu_count() or 1) // context.get_local_world_size()))
        if get_device().type == "cpu":
            keep_freed_memory()
        else:
            torch.backends.cudnn.benchmark = True  # shapes never change, and cuDNN's guesses for grouped 3D are poor
        seed_everything(self.experiment.seed)
        # First, since each is read by a process that has to start, which it does beside what follows.
        self.clips, validation = ray.train.get_dataset_shard("train"), _validation(job.manifest)

        latest = latest_checkpoint(self.run.checkpoints)
        self.state = begin(self.run, job.num_classes, self.world, latest and latest[1])
        self.progress = self.state.progress
        self.records = [record for record in self.run.read_metrics() if record["step"] <= self.progress.step]
        self.plan = make_plan(job.manifest, self.experiment)
        self.slots = len(range(self.rank, self.plan.batch, self.world))
        self.share = self.slots * self.world / self.plan.batch
        optim = self.experiment.optim
        self.train_step = partial(
            train_step,
            config=self.experiment.loss,
            share=self.share,
            accumulate=optim.accumulate,
            clip_norm=optim.clip_norm,
            teachers=load_teachers(job.teachers, get_device()),
            execution=self.state.execution,
        )
        self.trained: Trained | None = None
        self.parallel: nn.Module = self.state.model
        # The same in every epoch: decoded once, kept in the object store.
        self.validation = validation and validation.materialize().iterator()
        self.saver = Saver(self.run, job.settings.keep_checkpoints) if self.rank == 0 else None
        self.saved_step, self.save_is_due = self.progress.step, False
        self.last_step_s = self.last_save_s = self.last_flush_s = time.monotonic()
        self.last_look_s, self.is_stopped = float("-inf"), False

    def train(self) -> None:
        """Step through what is left of the plan."""
        for batch, wait_s in _waited(self.clips.iter_torch_batches(batch_size=self.slots, prefetch_batches=2)):
            parts, wait_s, looks_up = self._agree(self._step(batch), wait_s)
            ends_epoch = self.progress.step % self.plan.steps_per_epoch == 0
            if not finite(parts, self.state.model if ends_epoch else None):
                return self._halt(parts)
            if self.state.average is not None:
                ema.update(self.state.average, self.state.model, self.progress.step, self.experiment.optim.ema)
            self._record(parts, wait_s)
            if ends_epoch:
                self._close_epoch()
            else:
                self._save_if_due()
            if looks_up and self._is_told_to_end():
                return self._leave()
        if self.saver:
            self.saver.finish()

    def _step(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """One step of the plan: the losses over this worker's clips."""
        step, model = self.progress.step, self.state.model
        if int(batch["step"][0]) != step:
            raise RuntimeError(f"got the clips of step {int(batch['step'][0])} for step {step}")
        if (trained := trained_part(self.experiment, step // self.plan.steps_per_epoch)) != self.trained:
            self.trained = trained
            set_trained(model, trained)
            # Again for another stage, since DDP takes the parameters that need gradients.
            self.parallel = prepare_model(model, parallel_strategy_kwargs=DDP)
        set_trained(model, trained)
        seed_step(self.experiment.seed, step, self.rank)
        set_rates(self.state.optimizer, rate_factor(self.experiment, step, self.plan.steps_per_epoch))
        parts = self.train_step(self.parallel, self.state.optimizer, batch["clip"], batch["label"], trained=trained)
        self.progress.step += 1
        return parts

    def _agree(self, parts: dict[str, float], wait_s: float) -> tuple[dict[str, float], float, bool]:
        """What all workers together say of a step: losses over the global batch, its wait, and whether all look up.

        The worker that waits longest holds up the others, and one that wants to look up takes them with it.
        """
        is_time = self.rank == 0 and time.monotonic() - self.last_look_s > LOOK_EVERY_S
        looks_up = is_time or notice.sigterm.is_set()
        if self.world == 1:
            return parts, wait_s, looks_up
        weighted = [value * self.share / self.world for value in parts.values()]
        mine = torch.tensor([*weighted, wait_s, looks_up], device=get_device())
        of_all = mine.new_empty(self.world * len(mine))
        dist.all_gather_into_tensor(of_all, mine)
        *parts_W, waits_W, lookers_W = of_all.view(self.world, -1).T.tolist()
        means = {name: sum(values) for name, values in zip(parts, parts_W, strict=True)}
        return means, max(waits_W), any(lookers_W)

    def _record(self, parts: dict[str, float], wait_s: float) -> None:
        """A line of metrics.jsonl. Steps and epochs count what is done: the first step is step 1 of epoch 1."""
        now_s = time.monotonic()
        enhancer, classifier = self.state.optimizer.param_groups
        rates = {"lr": classifier["lr"], "lr_enhancer": enhancer["lr"]}
        values = {**parts, **rates, "step_s": now_s - self.last_step_s, "wait_s": wait_s}
        if self.saver and self.saver.failures:
            values["failed_saves"] = self.saver.failures
        self.last_step_s = now_s
        step, epoch = self.progress.step, -(-self.progress.step // self.plan.steps_per_epoch)
        self.records.append({"kind": "train", "step": step, "epoch": epoch, "time_s": time.time(), "metrics": values})

    def _halt(self, parts: dict[str, float]) -> None:
        if self.saver:
            self.saver.wait()
            self.run.write_metrics(self.records)
            halt(self.run, self.job.manifest, self.plan.rows(self.progress.step - 1), parts)

    def _close_epoch(self) -> None:
        """Validate, keep the epoch's records and checkpoint, report. Every rank calls it, since report is a barrier."""
        scores = {}
        if self.trained != "enhancer":  # in the first of two stages there is nothing to choose by
            if self.validation:
                scores = _validate(self.state, self.validation, self.experiment.optim.batch)
            self.state.choose(scores)
        self.records.append({**self.records[-1], "kind": "val", "time_s": time.time(), "metrics": scores})
        self._save()
        ray.train.report(scores)
        self.last_step_s = time.monotonic()

    def _save_if_due(self) -> None:
        """Begin a checkpoint within an epoch. One that is due while another is being written waits for its end."""
        if not self.saver:
            return
        steps, seconds = self.job.settings.checkpoint_steps, 60 * self.job.settings.checkpoint_minutes
        by_steps = steps and self.progress.step % steps == 0
        by_time = seconds and time.monotonic() - self.last_save_s > seconds
        self.save_is_due = bool(self.save_is_due or by_steps or by_time)
        # A gradient may have spoilt the weights behind a sound loss; the next step then halts.
        if self.save_is_due and self.saver.idle() and finite({}, self.state.model):
            self._save()

    def _save(self) -> None:
        if self.saver:
            self.saver.save(self.progress.step, self.state.pack(), self.progress.best_step, self.records)
            self.saved_step, self.save_is_due = self.progress.step, False
            self.last_save_s = self.last_flush_s = time.monotonic()

    def _is_told_to_end(self) -> bool:
        """Look up: whether any worker has notice of an end. Every rank calls it after the same step."""
        self.last_look_s = time.monotonic()
        draining = ray.train.get_preemption_info() is not None
        notices: list[tuple[bool, bool]] = [(False, False)] * self.world
        dist.all_gather_object(notices, (bool(self.saver and self.saver.stop_asked), notice.sigterm.is_set()))
        self.is_stopped = any(stop for stop, _ in notices)
        if self.saver:
            # The file is written as a whole: the longer it is, the more seldom.
            every_s = len(self.records) / RECORDS_PER_S if self.run.folder.is_local else FLUSH_EVERY_S
            flush = self.last_look_s - self.last_flush_s > every_s
            self.saver.look(self.records if flush else ())
            self.last_flush_s = self.last_look_s if flush else self.last_flush_s
        return draining or self.is_stopped or any(sigterm for _, sigterm in notices)

    def _leave(self) -> None:
        """End with a checkpoint: in an orderly way if the run is stopped, else so that the workers are replaced."""
        if self.saver:
            if self.saved_step != self.progress.step and finite({}, self.state.model):
                self._save()
            self.saver.finish()
        dist.barrier()  # the first to end takes the others with it
        if not self.is_stopped:
            raise RuntimeError(f"A worker was told to end; step {self.progress.step} has its checkpoint.")


def _waited(batches: Iterable[dict[str, Tensor]]) -> Iterator[tuple[dict[str, Tensor], float]]:
    """Batches, and for how many seconds each was waited for."""
    start_s = time.monotonic()
    for batch in batches:
        yield batch, time.monotonic() - start_s
        start_s = time.monotonic()


def _validate(state: State, clips: DataIterator, batch: int) -> dict[str, float]:
    """Figures over the validation part; each clip counts once, whatever the number of workers."""
    model, found = state.used.eval(), []
    for rows in clips.iter_torch_batches(batch_size=batch, prefetch_batches=2):
        found += zip(rows["label"].cpu(), *predict(model, rows["clip"], state.execution), strict=True)
    gathered: list[list[tuple[Tensor, Tensor, Tensor]]] = [[]] * dist.get_world_size()
    dist.all_gather_object(gathered, found)
    if not any(gathered):
        raise BadInput("No validation video can be read any more; put the files back and run the same command again.")
    labels, logits, inconsistency = (torch.stack(column) for column in zip(*chain(*gathered), strict=True))
    cross_entropy = float(nn.functional.cross_entropy(logits, labels))
    return {**metrics.summary(logits.numpy(), labels.numpy(), inconsistency.numpy()), "cross_entropy": cross_entropy}


def _validation(manifest: pa.Table) -> DataIterator | None:
    """This worker's validation clips, if there are any."""
    return ray.train.get_dataset_shard("val") if subset(manifest, "val").num_rows else None
