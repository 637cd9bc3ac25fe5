"""Connects to a Ray cluster, or starts one on this machine, and checks that it can carry the run."""

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager

import ray
import torch
from ray.data import DataContext

from components.loopback import loopback
from components.settings import Settings, in_ray_job
from dtcm.errors import BadInput


@contextmanager
def cluster(settings: Settings) -> Generator[bool]:
    """A connected Ray cluster for the duration; yields whether to compute on GPUs.

    Raises BadInput, before anything is written, if the cluster is too small for the workers.
    """
    prepare()
    started_here = not ray.is_initialized()
    if started_here:
        _connect(settings)
    try:
        yield _check(settings)
    finally:
        if started_here:
            ray.shutdown()


def prepare() -> None:
    """Before Ray starts: leave the terminal to this project's own progress; Ray's logs stay in its session folder."""
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")  # the default adds seconds to a short run
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "600")  # the default's 60 fail on a busy machine
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("ray.data._internal.progress", "ray._private.authentication"):  # warnings that nothing is wrong
        logging.getLogger(name).setLevel(logging.ERROR)


def workers_on(gpus: float, each: float) -> int:
    """How many workers the GPUs of a cluster hold: a share of a GPU lies on one of them."""
    return int(gpus) * int(1 / each + 1e-9) if each < 1 else int(gpus // each)


def reserved(settings: Settings, use_gpu: bool) -> dict[str, float]:
    """What Ray Train reserves for each worker of a run: a CPU, or its GPUs."""
    return {"GPU": settings.gpus_per_worker} if use_gpu else {"CPU": 1}


def device_here(settings: Settings) -> str:
    """Where this process itself computes, as to measure a model: "cuda" or "cpu"."""
    return "cuda" if settings.device != "cpu" and torch.cuda.is_available() else "cpu"


def start_here(cpus: int) -> None:
    """Start a cluster of this machine alone, of so many logical CPUs, and connect to it."""
    with loopback():
        # Without an address Ray may join somebody else's cluster on this machine, hence "local".
        ray.init(
            address="local",
            num_cpus=cpus,
            dashboard_host="127.0.0.1",
            logging_level=logging.WARNING,
            log_to_driver=False,
        )


def _connect(settings: Settings) -> None:
    address = settings.ray_address or os.environ.get("RAY_ADDRESS") or ("auto" if in_ray_job() else "local")
    if address != "local":
        try:
            ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False)
        except ConnectionError as error:
            raise BadInput(f"There is no Ray cluster at {address!r}; start one with `ray start --head`.") from error
        return
    cores = os.cpu_count() or 1
    if settings.workers > cores:
        raise BadInput(
            f"{settings.workers} workers were asked for and this machine has {cores} cores; "
            "lower --settings.workers or name a larger cluster with --settings.ray-address."
        )
    # Cores are logical: one more than the workers need, so that decoding can always be scheduled.
    start_here(max(cores, settings.workers + 1))


def _check(settings: Settings) -> bool:
    total, each = ray.cluster_resources(), settings.gpus_per_worker
    if each <= 0 or (each > 1 and each % 1):
        raise BadInput(
            f"A worker has a part of a GPU, or one or more whole ones; --settings.gpus-per-worker is {each:g}."
        )
    cpus, gpus = int(total.get("CPU", 0)), total.get("GPU", 0)
    fit = workers_on(gpus, each)
    use_gpu = settings.device == "cuda" or (settings.device == "auto" and fit >= settings.workers)
    if use_gpu and settings.workers > fit:
        raise BadInput(
            f"{settings.workers} workers need {each:g} GPUs each and the cluster has {gpus:g}; "
            "lower --settings.workers, add nodes, or choose --settings.device cpu."
        )
    if use_gpu and settings.workers > 1 and each < 1:
        raise BadInput(
            "Workers of one training cannot share a GPU, since NCCL refuses it; let --settings.gpus-per-worker be 1, "
            "or --settings.workers."
        )
    if settings.workers + 1 > cpus:
        raise BadInput(
            f"{settings.workers} workers need {settings.workers + 1} CPUs, one each and one to decode video, and the "
            f"cluster has {cpus}; lower --settings.workers or add nodes."
        )
    return use_gpu
