"""Measure what this project costs beyond the work itself, as ratios within one run.

`--local` measures what needs no cluster and imports no Ray.
"""

import glob
from dataclasses import dataclass
from pathlib import Path

import tyro

from dtcm.benchmarks import darkness_ratios, enhancer_ratios
from dtcm.data.sample import make_sample
from dtcm.recipes import RECIPES
from pipelines.command_line import run

K = (1, 2, 4, 8, 16)
PAPER = {1: 19.0813, 2: 9.5407, 4: 4.7703, 8: 2.3852, 16: 1.1926}
"""G multiply-accumulates of the light enhancer at 64x112x112 by k (Table IX); Zero-DCE has 63.7564."""


@dataclass(frozen=True)
class BenchmarkArguments:
    """Measure ratios: Ray over the bare work, darkness over the released script, the light enhancer over Zero-DCE."""

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
    """Where the enhancers run: cpu or cuda."""


def main() -> None:
    """Measure and print the table."""
    args = tyro.cli(BenchmarkArguments)
    videos = sorted(glob.glob(args.videos, recursive=True)) if args.videos else _sample_videos()
    print(f"{'measure':72s}{'measured':>10s}{'aim':>10s}")
    for k, ratio in enhancer_ratios(K, args.frames, args.size, args.device, args.rounds).items():
        _line(f"light enhancer at k={k} over Zero-DCE, time", ratio, PAPER[k] / 63.7564, "by operations")
    dark = darkness_ratios(videos, args.rounds)
    _line("darkness by seeking over decoding all, time", dark["time_over_all"], 1.0, "or less")
    _line("darkness by seeking over the released way, time", dark["time_over_released"], 1.0, "or less")
    memory = dark["seek_mib"] / max(dark["released_mib"], 1)
    _line("darkness by seeking over the released way, memory beyond a bare process", memory, 1.0, "or less")
    if args.local:
        return
    from components.benchmarks import index_ratio, ray_ratios

    _line("index over the bare decoder, videos per second", index_ratio(videos, args.clips), 0.9, "or more")
    figures = ray_ratios(RECIPES[args.recipe](), args.clips, args.steps)
    _line("Ray Data over the bare decoder, clips per second", figures["decoding_ratio"], 0.9, "or more")
    _line("Ray Train over a plain loop, time of a step", figures["step_ratio"], 1.05, "or less")
    _line("share of the Ray Train step spent waiting for clips", figures["wait_share"], 0.0, "or less")


def _sample_videos() -> list[str]:
    return sorted(str(path) for path in Path(make_sample()).rglob("*.mp4"))


def _line(measure: str, value: float, aim: float, meaning: str) -> None:
    missed = value < aim if meaning == "or more" else value > aim
    print(f"{measure:72s}{value:10.3f}{aim:10.3f} {meaning}{'  <- falls short' if missed else ''}", flush=True)


if __name__ == "__main__":
    run(main)
