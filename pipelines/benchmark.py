"""Measure what this project costs beyond the work itself, as ratios within one run.

`--local` measures what needs no cluster and imports no Ray. On a GPU: --device cuda --step-frames 64 --step-size 112.
"""

import glob
import os
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from dtcm.benchmarks import darkness_ratios, enhancer_ratios
from dtcm.data.sample import make_sample
from dtcm.heap import keep_freed_memory
from dtcm.recipes import RECIPES
from dtcm.step_benchmarks import free, largest_step_costs, memory_ratios, step_costs
from pipelines.command_line import run

K = (1, 2, 4, 8, 16)
GOPS = {1: 19.0813, 2: 9.5407, 4: 4.7703, 8: 2.3852, 16: 1.1926}
"""G multiply-accumulates of the light enhancer at 64x112x112 by k (Table IX); Zero-DCE has 63.7564."""
MIB = {1: 3037, 2: 2432, 4: 2073, 8: 1737, 16: 1663}
"""Memory of that row in print, MiB; Zero-DCE's is 5269."""


@dataclass(frozen=True)
class BenchmarkArguments:
    """Measure ratios: Ray over the bare work, joint steps over the classifier's, the light enhancer over Zero-DCE."""

    local: bool = False
    """Only what needs no cluster."""
    recipe: str = "sample"
    """Experiment whose data and model are used for the measures of Ray."""
    videos: str = ""
    """Glob pattern of the videos that are indexed and whose darkness is judged. Empty: the sample set's."""
    clips: int = 1000
    """Clips to decode each way, and videos to index."""
    steps: int = 150
    """Training steps each way."""
    frames: int = 64
    """Frames of the clip that the enhancers brighten."""
    size: int = 112
    """Side of that clip in pixels."""
    rounds: int = 5
    """Repetitions of the enhancers and of judging the darkness; medians are compared."""
    device: str = "cpu"
    """Where enhancers and joint steps run: cpu or cuda."""
    classifier: str = "resnext3d-101"
    """Classifier of the joint steps."""
    batch: int = 4
    """Clips of a joint step; on a GPU the largest power of two that fits is measured too."""
    step_frames: int = 16
    """Frames of those clips."""
    step_size: int = 56
    """Side of those clips in pixels."""


def main() -> None:
    """Measure and print the table."""
    args = tyro.cli(BenchmarkArguments)
    if args.device == "cpu":
        keep_freed_memory()  # as a training's workers do
    videos = sorted(glob.glob(args.videos, recursive=True)) if args.videos else _sample_videos()
    print(f"{'measure':76s}{'measured':>10s}{'aim':>10s}")
    for k, ratio in enhancer_ratios(K, args.frames, args.size, args.device, args.rounds).items():
        _line(f"light enhancer at k={k} over Zero-DCE, time", ratio, GOPS[k] / 63.7564, "by operations")
    _joint_steps(args)
    dark = darkness_ratios(videos, args.rounds)
    _line("darkness by seeking over decoding all, time", dark["time_over_all"], 1.0, "or less")
    _line("darkness by seeking over the released way, time", dark["time_over_released"], 1.0, "or less")
    memory = dark["seek_mib"] / max(dark["released_mib"], 1)
    _line("darkness by seeking over the released way, memory beyond a bare process", memory, 1.0, "or less")
    if args.local:
        return
    from components.benchmarks import index_ratio, ray_ratios

    for cores in sorted({1, os.cpu_count() or 1}):
        ratio = index_ratio(videos, args.clips, cores)
        _line(f"index over the bare decoder on {cores} core(s), videos per second", ratio, 0.9, "or more")
    figures = ray_ratios(RECIPES[args.recipe](), args.clips, args.steps)
    _line("Ray Data over the bare decoder, clips per second", figures["decoding_ratio"], 0.9, "or more")
    _line(
        "Ray Train over a plain loop beside the same decoders, time of a step", figures["step_ratio"], 1.05, "or less"
    )
    _line("Ray Train over a plain loop on clips in memory, time of a step", figures["in_memory_ratio"])
    _line("clips per second in training", figures["train_clips_per_s"])
    _line("share of the Ray Train step spent waiting for clips", figures["wait_share"], 0.01, "or less")
    _line("two workers over one, one thread each, clips per second", figures["two_workers_ratio"], 2.0, "at best")


def _joint_steps(args: BenchmarkArguments) -> None:
    device, size = torch.device(args.device), (args.step_frames, args.step_size)
    torch.backends.cudnn.benchmark = True  # as a training's workers have it on a GPU
    shape = f"{args.step_frames}x{args.step_size}x{args.step_size}"
    for k, ratio in memory_ratios(K, args.classifier, *size, device).items():
        _line(f"joint step, light at k={k} over Zero-DCE, memory, {shape}", ratio, MIB[k] / 5269, "in print")
    measured = [(args.batch, step_costs(args.classifier, *size, args.batch, device, args.rounds))]
    if device.type == "cuda":
        measured.append(largest_step_costs(args.classifier, *size, device, args.rounds))
    for batch, costs in measured:
        clips = f"{batch} clips of {shape}"
        _line(f"joint step over the classifier's own, time, {clips}", costs.over_classifier, 1.15, "or less")
        _line("  the same by operations of the forward pass", costs.by_forward)
        _line("  the same by operations of the step", costs.by_operations)
        _line(f"  clips per second, {args.classifier}", costs.clips_per_s)
        _line("  share of this device's measured peak", costs.share_of_peak)
        print(f"  {costs.why}")
    free(device)  # Ray's workers are to find it empty


def _sample_videos() -> list[str]:
    return sorted(str(path) for path in Path(make_sample()).rglob("*.mp4"))


def _line(measure: str, value: float, aim: float | None = None, meaning: str = "") -> None:
    print(f"{measure:76s}{value:10.3f}", end="" if aim is not None else "\n", flush=True)
    if aim is not None:
        missed = (meaning == "or more" and value < aim) or (meaning == "or less" and value > aim)
        print(f"{aim:10.3f} {meaning}{'  <- falls short' if missed else ''}", flush=True)


if __name__ == "__main__":
    run(main)
