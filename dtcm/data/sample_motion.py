"""What each action of the sample set does to the joints, over time.

A motion is a dict of curves over the frames, one per angle, that differ from standing (`REST`). Angles
are in degrees: of a bone forward from hanging down (90 is level, 180 straight up), or, named `_out`,
sideways away from the body. The "near" side acts, the "far" one goes along.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Motion = dict[str, np.ndarray | float]
SIDES = ("near", "far")

_LIMBS = {"arm": 2, "arm_out": 9, "forearm": 14, "forearm_out": 4, "thigh": 1, "shin": -1}
REST: Motion = {"yaw": 0, "lean": 2, "nod": 0, "lift_m": 0, "walked_m": 0, "bottle": 150}
REST |= {f"{side}_{bone}": angle for side in SIDES for bone, angle in _LIMBS.items()}


class Style(NamedTuple):
    """How one clip performs its action."""

    seconds: np.ndarray
    """[T], zero near the middle frame."""
    phase: np.ndarray
    """[T], 0 before and 1 after the event, for actions that begin and end."""
    size: float
    """How far the limbs go, about 1."""
    tempo: float
    """Speed of what repeats, about 1."""
    turn_deg: float
    """How far and which way Turn turns."""


def drink(style: Style) -> Motion:
    """A hand lifts the bottle to the mouth, the head tips back, the hand sinks again."""
    up = _bump(style.phase, 0, 0.35, 0.65, 1)
    tip = _bump(style.phase, 0.25, 0.5, 0.6, 0.8)
    return {
        "near_arm": 2 + 46 * up * style.size,
        "near_arm_out": 9 + 14 * up,
        "near_forearm": 14 + 136 * up,
        "near_forearm_out": 4 - 34 * up,
        "nod": -22 * tip,
        "bottle": 150 + 90 * tip,
    }


def jump(style: Style) -> Motion:
    """Knees bend, the whole body leaves the floor with arms thrown up, and lands."""
    crouch = _bump(style.phase, 0, 0.28, 0.3, 0.42) + _bump(style.phase, 0.66, 0.76, 0.78, 1)
    arms = _bump(style.phase, 0.25, 0.45, 0.65, 0.9)
    air = np.clip((style.phase - 0.38) / 0.32, 0, 1)
    return {"lift_m": 0.32 * style.size * 4 * air * (1 - air), "lean": 2 + 32 * crouch} | _both(
        arm=2 - 35 * crouch + 140 * arms,
        forearm=14 - 20 * crouch + 140 * arms,
        thigh=1 + 55 * crouch,
        shin=-1 - 42 * crouch,
    )


def pick(style: Style) -> Motion:
    """The body bends to the floor, a hand grasps the bottle there, and both rise."""
    bend = _bump(style.phase, 0, 0.42, 0.58, 1)
    return {
        "lean": 2 + 72 * style.size * bend,
        "nod": 10 * bend,
        "near_arm": 2 + 18 * bend,
        "near_forearm": 14 + 6 * bend,
    } | _both(thigh=1 + 58 * bend, shin=-1 - 38 * bend)


def pour(style: Style) -> Motion:
    """One hand stretches out and tips the bottle over the other."""
    out = _bump(style.phase, 0, 0.25, 0.8, 1)
    tip = _bump(style.phase, 0.25, 0.45, 0.65, 0.8)
    return {
        "near_arm": 2 + (52 + 34 * tip) * out * style.size,
        "near_arm_out": 9 + 25 * tip * out,
        "near_forearm": 14 + 78 * out,
        "near_forearm_out": 4 - 30 * out,
        "bottle": 150 - 105 * tip,
        "nod": 14 * out,
        "far_arm": 2 + 26 * out,
        "far_forearm": 14 + 62 * out,
        "far_forearm_out": 4 - 24 * out,
    }


def push(style: Style) -> Motion:
    """Both hands come to the chest and thrust forward, the body leans after them."""
    ready = _bump(style.phase, 0, 0.25, 0.85, 1)
    thrust = _bump(style.phase, 0.3, 0.48, 0.7, 0.88)
    return {
        "lean": 2 - 6 * ready + 28 * style.size * thrust,
        "near_thigh": 1 + 26 * thrust,
        "near_shin": -1 - 4 * thrust,
        "far_thigh": 1 - 20 * thrust,
        "far_shin": -1 - 26 * thrust,
    } | _both(arm=2 - 32 * ready + 116 * thrust, forearm=14 + 92 * ready - 18 * thrust)


def run(style: Style) -> Motion:
    """Fast strides with high knees, bent arms, and a bounce."""
    strides = 1.45 * style.tempo * style.seconds
    legs = _gait(strides, thigh=42 * style.size, knee=78) | _swinging_arms(strides, swing=40, elbow=85)
    bounce_m = 0.06 * np.abs(np.sin(2 * np.pi * strides))
    return {"walked_m": 1.9 * style.tempo * style.seconds, "lean": 10, "lift_m": bounce_m} | legs


def walk(style: Style) -> Motion:
    """Calm strides with hanging arms."""
    strides = 0.85 * style.tempo * style.seconds
    legs = _gait(strides, thigh=25 * style.size, knee=42) | _swinging_arms(strides, swing=20, elbow=12)
    return {"walked_m": 1.0 * style.tempo * style.seconds} | legs


def sit(style: Style) -> Motion:
    """From standing to the chair."""
    down = _ramp(style.phase, 0.1, 0.85)
    passing = np.sin(np.pi * down)
    return {"lean": 2 + 4 * down + 34 * style.size * passing} | _both(
        thigh=1 + 86 * down, shin=-1 - 6 * passing, forearm=14 + 50 * down
    )


def stand(style: Style) -> Motion:
    """From the chair to standing: Sit, played backwards."""
    return sit(style._replace(phase=1 - style.phase))


def turn(style: Style) -> Motion:
    """The body turns where it stands, in small steps."""
    steps = np.sin(4 * np.pi * style.phase)
    motion: Motion = {"yaw": style.turn_deg * _ramp(style.phase, 0.05, 0.95)}
    for side, step in zip(SIDES, (np.clip(steps, 0, 1), np.clip(-steps, 0, 1)), strict=True):
        motion |= {f"{side}_thigh": 1 + 18 * step, f"{side}_shin": -1 - 14 * step}
    return motion


def wave(style: Style) -> Motion:
    """A raised hand swings from side to side."""
    up = _bump(style.phase, 0, 0.15, 0.88, 1)
    swing = np.sin(2 * np.pi * 1.5 * style.tempo * style.seconds)
    return {
        "near_arm": 2 + 88 * up,
        "near_arm_out": 9 + 45 * up,
        "near_forearm": 14 + 160 * up,
        "near_forearm_out": 4 + up * (8 + 38 * style.size * swing),
    }


MOTIONS: dict[str, Callable[[Style], Motion]] = {
    "Drink": drink,
    "Jump": jump,
    "Pick": pick,
    "Pour": pour,
    "Push": push,
    "Run": run,
    "Sit": sit,
    "Stand": stand,
    "Turn": turn,
    "Walk": walk,
    "Wave": wave,
}
"""Motions by action, in the order of ARID's class numbers."""


def _ramp(phase: np.ndarray, start: float, stop: float) -> np.ndarray:
    """A smooth step from 0 at `start` to 1 at `stop`."""
    x = np.clip((phase - start) / (stop - start), 0, 1)
    return x * x * (3 - 2 * x)


def _bump(phase: np.ndarray, start: float, arrive: float, leave: float, stop: float) -> np.ndarray:
    """There and back: 0, up to 1 between `start` and `arrive`, down again between `leave` and `stop`."""
    return _ramp(phase, start, arrive) - _ramp(phase, leave, stop)


def _both(**angles: np.ndarray) -> Motion:
    """The same angles for both sides."""
    return {f"{side}_{bone}": angle for side in SIDES for bone, angle in angles.items()}


def _gait(strides: np.ndarray, thigh: float, knee: float) -> Motion:
    """Legs half a stride apart; the knee bends while its thigh comes forward."""
    motion: Motion = {}
    for side, angle in zip(SIDES, (2 * np.pi * strides, 2 * np.pi * strides + np.pi), strict=True):
        swing, bent = 4 + thigh * np.sin(angle), 0.12 + 0.88 * np.clip(np.cos(angle), 0, 1)
        motion |= {f"{side}_thigh": swing, f"{side}_shin": swing - knee * bent}
    return motion


def _swinging_arms(strides: np.ndarray, swing: float, elbow: float) -> Motion:
    """Arms against the legs of their sides, bent by `elbow`."""
    motion: Motion = {}
    for side, angle in zip(SIDES, (2 * np.pi * strides, 2 * np.pi * strides + np.pi), strict=True):
        motion |= {f"{side}_arm": -swing * np.sin(angle), f"{side}_forearm": elbow - swing * np.sin(angle)}
    return motion
