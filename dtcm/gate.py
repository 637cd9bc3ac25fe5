"""Whether a model may take another's place: two sets of predictions of the same clips, and limits. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dtcm import metrics


@dataclass(frozen=True)
class Limits:
    """What a challenger has to keep to."""

    p: float = 0.05
    """It must be better than the champion with a p value (McNemar, exact, two-sided) below this."""
    margin: float = 0.0
    """Or, if above 0, it may be as good: the 95 % interval of the difference in Top-1 must lie above -margin."""
    group_loss: float = 0.05
    """Largest loss of accuracy in any class and any bin of darkness. One clip may always be lost."""
    latency: float = 1.25
    """Largest time for a clip, relative to the champion's."""
    size: float = 1.25
    """Largest weights file, relative to the champion's."""


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    passed: bool
    says: str
    """The figures and the limit, as a sentence."""


class Judged(NamedTuple):
    """A model with what it predicted and what it costs."""

    right: NDArray[np.bool_]
    """Whether each clip was, [N], in the same order for both models."""
    latency_s: float
    weights_bytes: int


def compare(
    challenger: Judged, champion: Judged, classes_N: Sequence[str], dv_N: NDArray[np.float64], limits: Limits
) -> list[Check]:
    """The checks of a challenger against a champion, clip for clip."""
    return [
        _better(challenger, champion, limits),
        _no_group_loses("classes", challenger, champion, classes_N, limits),
        _no_group_loses("bins of darkness", challenger, champion, metrics.dv_bins(dv_N), limits),
        _ratio("latency", challenger.latency_s * 1e3, champion.latency_s * 1e3, limits.latency, "ms a clip"),
        _ratio("size", challenger.weights_bytes / 1e6, champion.weights_bytes / 1e6, limits.size, "MB of weights"),
    ]


def better_than_chance(right_N: NDArray[np.bool_], num_classes: int) -> Check:
    """The check of a first champion, which has nobody to be compared with."""
    low, high = metrics.wilson_interval(float(right_N.mean()), len(right_N))
    says = f"Top-1 {right_N.mean():.1%} (95 % interval {low:.1%} to {high:.1%}), chance {1 / num_classes:.1%}"
    return Check("better than chance", low > 1 / num_classes, says)


def paired(challenger_N: NDArray[np.bool_], champion_N: NDArray[np.bool_]) -> dict[str, float]:
    """The paired figures: clips gained and lost, the difference in Top-1 with its interval, and McNemar's p."""
    gained, lost = int((challenger_N & ~champion_N).sum()), int((champion_N & ~challenger_N).sum())
    low, high = metrics.paired_interval(gained, lost, len(challenger_N))
    return {
        "clips": len(challenger_N),
        "gained": gained,
        "lost": lost,
        "difference": (gained - lost) / len(challenger_N),
        "difference_low": low,
        "difference_high": high,
        "p": metrics.mcnemar(gained, lost),
    }


def _better(challenger: Judged, champion: Judged, limits: Limits) -> Check:
    found = paired(challenger.right, champion.right)
    passed = found["gained"] > found["lost"] and found["p"] < limits.p
    wanted = f"p below {limits.p:g}"
    if limits.margin > 0:
        passed = passed or found["difference_low"] > -limits.margin
        wanted += f", or a difference above {-limits.margin:+.1%} for certain"
    says = (
        f"Top-1 {challenger.right.mean():.1%} against {champion.right.mean():.1%} on {found['clips']} clips: "
        f"{found['gained']} gained, {found['lost']} lost, difference {found['difference']:+.1%} (95 % interval "
        f"{found['difference_low']:+.1%} to {found['difference_high']:+.1%}), p = {found['p']:.3g}; wanted: {wanted}"
    )
    return Check("better", passed, says)


def _no_group_loses(kind: str, challenger: Judged, champion: Judged, groups_N: Sequence[str], limits: Limits) -> Check:
    new = metrics.group_accuracy(challenger.right, groups_N)
    old = metrics.group_accuracy(champion.right, groups_N)
    losses = {name: (old[name][0] - right, clips) for name, (right, clips) in new.items()}
    bad = [
        f"{name} loses {lost} of {clips} clips"
        for name, (lost, clips) in losses.items()
        if lost > max(1.0, limits.group_loss * clips)
    ]
    says = "; ".join(bad) or f"none of {len(losses)} loses more"
    return Check(kind, not bad, f"{says} (limit {limits.group_loss:.0%} and one clip)")


def _ratio(name: str, new: float, old: float, limit: float, unit: str) -> Check:
    says = f"{new:.4g} {unit} against {old:.4g}, {new / old:.2f} times (limit {limit:g})"
    return Check(name, new <= limit * old, says)
