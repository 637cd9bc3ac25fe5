"""The person of the sample set: a body, and where its limbs are when it moves, in metres.

Forward kinematics from the pelvis outwards, then the feet are set on the floor. Segment lengths are
shares of body height as in Winter, Biomechanics and Motor Control of Human Movement.
"""

from typing import NamedTuple

import numpy as np

from dtcm.data.sample_motion import REST, SIDES, Motion

BOTTLE = np.array([0.75, 0.8, 0.85])


class Body(NamedTuple):
    """A person: stature, girth, and linear RGB reflectances of skin and clothes."""

    height_m: float
    girth: float
    skin: np.ndarray
    hair: np.ndarray
    shirt: np.ndarray
    trousers: np.ndarray
    shoes: np.ndarray


class Bones(NamedTuple):
    """Tapered capsules in the world: x right, y up from the floor, z towards the camera."""

    ends_m: np.ndarray
    """[T, bones, 2, 3]."""
    radii_m: np.ndarray
    """[bones, 2]."""
    colors: np.ndarray
    """[bones, 3], linear reflectance."""


def draw_body(rng: np.random.Generator, pale: bool) -> Body:
    """A person at random, in pale or in dark clothes."""

    def cloth(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high) * rng.uniform(0.7, 1.0, 3)

    shirt, trousers = (cloth(0.45, 0.85), cloth(0.3, 0.6)) if pale else (cloth(0.05, 0.14), cloth(0.03, 0.1))
    skin = np.array([0.6, 0.4, 0.3]) * rng.uniform(0.6, 1.2)
    height_m, girth = rng.uniform(1.55, 1.85), rng.uniform(0.9, 1.2)
    return Body(height_m, girth, skin, cloth(0.02, 0.06), shirt, trousers, cloth(0.03, 0.7))


def bones(body: Body, motion: Motion, heading_deg: float, right_handed: bool, holds: np.ndarray) -> Bones:
    """The capsules of a body that moves about the origin.

    Args:
        body: who moves.
        motion: curves of [T] that differ from REST.
        heading_deg: where the body faces; 0 is to the camera, 90 to the right of the image.
        right_handed: whether the "near" side, which acts, is the right one.
        holds: bool [T], whether the near hand holds the bottle, which else stands on the floor.
    """
    pose = {name: np.broadcast_to(value, len(holds)).astype(float) for name, value in (REST | motion).items()}
    joints = _joints(body.height_m, pose)
    joints["bottle"], joints["cap"] = _bottle(joints["near_hand"], pose["bottle"], holds)
    if right_handed:
        joints = {name: joint * (-1, 1, 1) for name, joint in joints.items()}
    parts = _parts(body)
    ends = np.stack([np.stack([joints[a], joints[b]], 1) for a, b, *_ in parts], 1)
    radii = np.array([radii for *_, radii, _ in parts]) * body.height_m
    return Bones(_turned(ends, heading_deg + pose["yaw"]), radii, np.stack([color for *_, color in parts]))


def chair(height_m: float, heading_deg: float, beside_m: float) -> Bones:
    """A chair for a person of that height who faces `heading_deg`, moved `beside_m` to one side; T is 1."""
    seat, front, back, half = 0.20 * height_m, -0.10 * height_m, -0.36 * height_m, 0.11 * height_m
    rods = [((x, seat, front), (x, seat, back)) for x in np.linspace(-half, half, 5)]
    rods += [((x, 0.0, z), (x, seat, z)) for x in (-half, half) for z in (front, back)]
    rods += [((x, seat, back), (x, 2.1 * seat, back)) for x in (-half, half)]
    rods += [((-half, share * seat, back), (half, share * seat, back)) for share in (1.7, 2.1)]
    ends = np.add(rods, (beside_m, 0, 0))
    radii = np.full((len(rods), 2), 0.014 * height_m)
    radii[:5] *= 2
    return Bones(_turned(ends[None], np.array([heading_deg])), radii, np.full((len(rods), 3), 0.16))


def shadow(body_bones: Bones) -> Bones:
    """The spot on the floor below a body, as one flat capsule."""
    below = body_bones.ends_m.mean((1, 2)) * (1, 0, 1)
    return Bones(np.stack([below, below], 1)[:, None], np.full((1, 2), 0.35), np.zeros((1, 3)))


def _joints(height_m: float, pose: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Joints [T, 3] as (to the left, up, forward) of a body whose near side is the left."""
    zero = np.zeros_like(pose["yaw"])
    trunk, head = _bone(180 - pose["lean"], zero), _bone(180 - pose["lean"] - pose["nod"], zero)
    back = np.cross(head, (1.0, 0.0, 0.0))
    neck = 0.30 * trunk
    at = {"belly": 0.04 * trunk, "neck": neck, "chin": neck + 0.065 * head, "crown": neck + 0.115 * head}
    at |= {"nape": at["chin"] + 0.03 * head + 0.022 * back, "hair": at["crown"] + 0.022 * head + 0.014 * back}
    for side, sign in zip(SIDES, (1, -1), strict=True):
        out = np.array([sign, 0, 0])
        angle = {bone: pose[f"{side}_{bone}"] for bone in ("arm", "forearm", "thigh", "shin")}
        forearm = _bone(angle["forearm"], sign * pose[f"{side}_forearm_out"])
        hip, shoulder = 0.055 * out + zero[:, None], neck + 0.115 * out - 0.02 * trunk
        elbow = shoulder + 0.172 * _bone(angle["arm"], sign * pose[f"{side}_arm_out"])
        knee = hip + 0.245 * _bone(angle["thigh"], zero + sign * 4)
        ankle = knee + 0.235 * _bone(angle["shin"], zero + sign * 2)
        toe = ankle + 0.10 * _bone(80 + 0.7 * np.minimum(angle["shin"], 0), zero + sign * 8)
        waist, chest = 0.035 * out + 0.02 * trunk, neck + 0.06 * out - 0.04 * trunk
        limbs = {"hip": hip, "knee": knee, "ankle": ankle, "toe": toe, "waist": waist, "chest": chest}
        limbs |= {"shoulder": shoulder, "elbow": elbow, "wrist": elbow + 0.157 * forearm}
        limbs |= {"hand": elbow + 0.207 * forearm}
        at |= {f"{side}_{name}": joint for name, joint in limbs.items()}
    shift = _footing(at, pose, height_m)
    return {name: (joint + shift) * height_m for name, joint in at.items()}


def _footing(at: dict[str, np.ndarray], pose: dict[str, np.ndarray], height_m: float) -> np.ndarray:
    """What brings the lowest sole to the floor, or `lift_m` above it, and the body to its place, in heights [T, 3]."""
    lowest = np.min([at[f"{side}_{end}"][:, 1] for side in SIDES for end in ("ankle", "toe")], axis=0)
    walked = pose["walked_m"] / height_m
    # A walker's feet swing about the body; any other body moves about its feet.
    stance = (at["near_ankle"] + at["far_ankle"])[:, 2] / 2 * (np.ptp(walked) == 0)
    return np.stack([np.zeros_like(walked), 0.025 - lowest + pose["lift_m"] / height_m, walked - stance], 1)


def _bottle(hand: np.ndarray, tilt_deg: np.ndarray, holds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of the bottle: in the hand [T, 3], or on the floor below the place where the hand takes it."""
    held = hand + 0.2 * _bone(tilt_deg, np.zeros_like(tilt_deg))
    below = hand[np.argmax(holds)] * (1, 0, 1)
    in_hand = holds[:, None]
    return np.where(in_hand, hand, np.add(below, (0, 0.04, 0))), np.where(in_hand, held, np.add(below, (0, 0.22, 0)))


def _parts(body: Body) -> list[tuple[str, str, tuple[float, float], np.ndarray]]:
    """(from, to, radii at both as shares of the height, colour)."""
    wide = body.girth
    parts = [
        ("chin", "crown", (0.045, 0.05), body.skin),
        ("nape", "hair", (0.042, 0.045), body.hair),
        ("neck", "chin", (0.03, 0.03), body.skin),
        ("belly", "neck", (0.056 * wide, 0.05 * wide), body.shirt),
        ("bottle", "cap", (0.022, 0.012), BOTTLE),
    ]
    for side in SIDES:
        for a, b, at_a, at_b, color in (
            ("waist", "chest", 0.055, 0.06, body.shirt),
            ("shoulder", "elbow", 0.036, 0.028, body.shirt),
            ("elbow", "wrist", 0.025, 0.019, body.skin),
            ("wrist", "hand", 0.02, 0.024, body.skin),
            ("hip", "knee", 0.053, 0.037, body.trousers),
            ("knee", "ankle", 0.036, 0.026, body.trousers),
            ("ankle", "toe", 0.026, 0.02, body.shoes),
        ):
            parts.append((f"{side}_{a}", f"{side}_{b}", (at_a * wide, at_b * wide), color))
    return parts


def _bone(forward_deg: np.ndarray, out_deg: np.ndarray) -> np.ndarray:
    """Unit vectors [T, 3] of a bone that hangs down at (0, 0)."""
    forward, out = np.deg2rad(forward_deg), np.deg2rad(out_deg)
    return np.stack([np.sin(out), -np.cos(forward) * np.cos(out), np.sin(forward) * np.cos(out)], -1)


def _turned(points: np.ndarray, yaw_deg: np.ndarray) -> np.ndarray:
    """Points [T, ..., 3] of the body in the world, the body turned about the vertical by yaw [T]."""
    yaw = np.deg2rad(yaw_deg)[:, None, None]
    left, up, forward = np.moveaxis(points, -1, 0)
    return np.stack([np.cos(yaw) * left + np.sin(yaw) * forward, up, np.cos(yaw) * forward - np.sin(yaw) * left], -1)
