"""What Table XI reports of each method, its spatio-temporal inconsistency (Eq. 4), and what it costs."""

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dtcm.config import DataConfig
from dtcm.data.decode import probe
from dtcm.data.files import is_uri, read_bytes
from dtcm.data.plan import centre_rows
from dtcm.data.transforms import load_clip
from dtcm.losses import spatio_temporal_consistency
from dtcm.models.dtcm import to_model_input
from dtcm.models.frozen import create

PAPER = {"bimef": 0.45, "lime": 0.62, "kind": 0.53, "gic": 0.08, "stable-llve": 0.10, "light": 0.15}
"""Inconsistency on ARID in Table XI; "light" is the paper's own enhancer, trained."""


class Measured(NamedTuple):
    """A method on some clips."""

    inconsistency: float
    """Mean L_STC over the clips (Eq. 4)."""
    ms_per_frame: float


class Row(NamedTuple):
    """A method on some videos, beside the paper."""

    method: str
    inconsistency: float
    ms_per_frame: float
    """Median over the videos."""
    paper: float | None
    """Inconsistency printed in Table XI."""


def measure(method: nn.Module, clips_BCTHW: Tensor) -> Measured:
    """Inconsistency and time of a method, or of any module from clip to clip, on clips in [0, 1]."""
    start_s = time.perf_counter()
    enhanced_BCTHW = method(clips_BCTHW)
    if clips_BCTHW.is_cuda:
        torch.cuda.synchronize()
    taken_ms = 1000 * (time.perf_counter() - start_s)
    frames = clips_BCTHW.shape[0] * clips_BCTHW.shape[2]
    return Measured(spatio_temporal_consistency(enhanced_BCTHW, clips_BCTHW).item(), taken_ms / frames)


@torch.no_grad()
def compare(
    videos: Sequence[str], methods: Mapping[str, str], data: DataConfig, device: torch.device | str = "cpu"
) -> list[Row]:
    """Every method on the test clip (central in time and space) of every video, one clip at a time.

    Args:
        videos: paths or s3:// URIs.
        methods: name -> weights, "" for methods that have none; the rows come in this order.
        data: length, size and crop of the clips.
        device: where the methods run.

    Raises BadInput for a method that `create` refuses, and UnreadableVideo.
    """
    modules = {name: create(name, weights).to(device) for name, weights in methods.items()}
    measured: dict[str, list[Measured]] = {name: [] for name in modules}
    for video in videos:
        clip_BCTHW = central_clip(video, data, device)
        for name, module in modules.items():
            if not measured[name]:
                module(clip_BCTHW)  # the first call warms up and does not count
            measured[name].append(measure(module, clip_BCTHW))
    return [_row(name, values) for name, values in measured.items()]


def central_clip(video: str, data: DataConfig, device: torch.device | str = "cpu") -> Tensor:
    """The clip on which a video is tested, [1, 3, T, crop, crop] in [0, 1]."""
    source = read_bytes(video) if is_uri(video) else video
    (row,) = centre_rows((probe(source).frames,), data)
    return to_model_input(torch.from_numpy(load_clip(source, row, data))[None], device)


def _row(name: str, values: list[Measured]) -> Row:
    inconsistency = statistics.fmean(value.inconsistency for value in values)
    return Row(name, inconsistency, statistics.median(value.ms_per_frame for value in values), PAPER.get(name))
