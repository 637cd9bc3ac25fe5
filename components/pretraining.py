"""Pre-trained weights, made once: `<storage>/synthetic/split1/<hash>/` is the run folder of a pre-training.

The hash is of what decides the weights. So all seeds, trials of a sweep and repeated runs begin with the same, and an
interrupted pre-training goes on like any run.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

from components.exclusive import Taken, locked
from components.ingest import make_plan
from components.runs import Run, close_run, open_run
from components.settings import Settings
from components.storage import Folder
from components.trainer import best_weights, train
from components.watch import watched
from dtcm import pretraining
from dtcm.checkpoint import WEIGHTS
from dtcm.config import Experiment
from dtcm.data import synthetic
from dtcm.models.dtcm import build
from dtcm.seeding import seed_everything

LOOK_EVERY_S = 5
"""How often a process looks whether another one has finished the pre-training that both need."""


def initial_weights(experiment: Experiment, classes: Sequence[str], settings: Settings, use_gpu: bool) -> bytes:
    """The weights with which an experiment on these classes begins, as safetensors. Trains where it must.

    Raises what training raises.
    """
    seed_everything(experiment.seed)
    model = build(experiment.model, len(classes), experiment.data.frames, experiment.data.crop_px)
    return pretraining.fitted(_pretrained(experiment, settings, use_gpu), model, classes)


def _pretrained(experiment: Experiment, settings: Settings, use_gpu: bool) -> bytes:
    """The weights of the pre-training, for the generator's classes."""
    ours = pretraining.pretraining(experiment)
    name, data = pretraining.run_name(ours), ours.data
    run = Run(name, Folder(settings.storage_uri) / data.name / f"split{data.split}" / name, ours)
    while not run.folder.has("result.json"):
        try:
            with locked(run.folder, f"The pre-training {name}"):
                if not run.folder.has("result.json"):
                    _train(ours, replace(settings, run=name, cache_bytes=0), use_gpu)
        except Taken:  # by another trial of a sweep, say
            time.sleep(LOOK_EVERY_S)
    return run.folder.read(WEIGHTS)


def _train(experiment: Experiment, settings: Settings, use_gpu: bool) -> None:
    manifest = pretraining.manifest(experiment.optim.pretrain_clips)
    run, steps = open_run(experiment, settings, manifest), make_plan(manifest, experiment).steps
    try:
        print(f"Pre-training {run.name}: {steps} steps on synthetic videos", flush=True)
        with watched(run, None, steps):
            train(run, manifest, len(synthetic.ACTIONS), settings, use_gpu)
        run.folder.write(WEIGHTS, best_weights(run))
        close_run(run, run.read_metrics()[-1]["metrics"])
        run.folder.remove("checkpoints")
    finally:
        run.folder.remove("RUNNING")  # this process may live on after an error, and another take over
