"""Measure what this project costs beyond the work itself, as ratios within one run.

`--local` measures what needs no cluster and imports no Ray.
"""

from dataclasses import dataclass

import tyro

from dtcm.benchmarks import enhancer_ratios
from dtcm.recipes import RECIPES
from pipelines.command_line import run

K = (1, 2, 4, 8, 16)
PAPER = {1: 19.0813, 2: 9.5407, 4: 4.7703, 8: 2.3852, 16: 1.1926}
"""G multiply-accumulates of the light enhancer at 64x112x112 by k (Table IX); Zero-DCE has 63.7564."""


@dataclass(frozen=True)
class BenchmarkArguments:
    """Measure ratios: Ray over the bare work, the light enhancer over Zero-DCE."""

    local: bool = False
    """Only what needs no cluster."""
    recipe: str = "sample"
    """Experiment whose data and model are used for the measures of Ray."""
    clips: int = 1000
    """Clips to decode each way."""
    steps: int = 150
    """Training steps each way."""
    frames: int = 64
    """Frames of the clip that the enhancers brighten."""
    size: int = 112
    """Side of that clip in pixels."""
    rounds: int = 5
    """Repetitions of the enhancers; medians are compared."""
    device: str = "cpu"
    """Where the enhancers run: cpu or cuda."""


def main() -> None:
    """Measure and print the table."""
    args = tyro.cli(BenchmarkArguments)
    print(f"{'measure':58s}{'measured':>10s}{'aim':>10s}")
    for k, ratio in enhancer_ratios(K, args.frames, args.size, args.device, args.rounds).items():
        _line(f"light enhancer at k={k} over Zero-DCE, time", ratio, PAPER[k] / 63.7564, "by operations")
    if args.local:
        return
    from components.benchmarks import ray_ratios

    figures = ray_ratios(RECIPES[args.recipe](), args.clips, args.steps)
    _line("Ray Data over the bare decoder, clips per second", figures["decoding_ratio"], 0.9, "or more")
    _line("Ray Train over a plain loop, time of a step", figures["step_ratio"], 1.05, "or less")
    _line("share of the Ray Train step spent waiting for clips", figures["wait_share"], 0.0, "or less")


def _line(measure: str, value: float, aim: float, meaning: str) -> None:
    missed = value < aim if meaning == "or more" else value > aim
    print(f"{measure:58s}{value:10.3f}{aim:10.3f} {meaning}{'  <- falls short' if missed else ''}", flush=True)


if __name__ == "__main__":
    run(main)
