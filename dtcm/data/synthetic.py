"""The sample generator's endless supply: videos that are drawn when they are read, to pre-train on.

The address of such a video, "synthetic:<seed>/<number>", decides all that it shows, so that numbers can be dealt
to workers, and drawn again, like files. People and actions are the sample set's. Views are not: as in ARID, people
are near and far, from all sides and often not whole, the camera is held in the hand and follows them, and rooms,
light and sensor vary more.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dtcm.data import sample_actor, sample_motion, sample_scene
from dtcm.data.sample_motion import MOTIONS, Motion, Style
from dtcm.data.sample_scene import HEIGHT_PX, WIDTH_PX, Camera, Outlines, Scene

ACTIONS = tuple(MOTIONS)
"""Classes by number: video n shows action n modulo their number."""
FPS = 30
_SCHEME = "synthetic:"
_FRAMES = (36, 96)
"""Fewest and most frames of a video."""
_LUMA = (4.0, 50.0)
"""Mean luma of the darkest and the brightest video, in 0..255, as ARID's."""
_MARGIN_PX = np.array([160, 60])
"""How far the camera may turn from the middle: right or left, down or up."""


class _Shot(NamedTuple):
    """Everything about a video but its pixels."""

    scene: Scene
    """With the chair, and with the margins that the camera may turn to."""
    actor: Outlines
    shadow: Outlines
    view_px: np.ndarray
    """int [T, 2], where the camera looks: right, down."""
    exposures: np.ndarray
    """float32 [T]."""
    photons: float
    read_noise: float
    noise: np.ndarray
    windows_px: np.ndarray
    """[T, 2], which part of the noise a frame gets."""


def address(seed: int, number: int) -> str:
    """Where video `number` of a seed "lies"."""
    return f"{_SCHEME}{seed}/{number}"


def is_synthetic(source: object) -> bool:
    """Whether a video's source is such an address."""
    return isinstance(source, str) and source.startswith(_SCHEME)


def label(number: int) -> int:
    """Class of a video: every run of as many videos as there are classes has each once."""
    return number % len(ACTIONS)


def frame_count(seed: int, number: int) -> int:
    """How many frames a video has; nothing is drawn for that."""
    return _length(_rng(seed, number))


def draw_frames(source: str, indices: Sequence[int]) -> np.ndarray:
    """The frames of a video at the given indices: RGB uint8 [T, 240, 320, 3]. A frame is the same among any others."""
    seed, number = map(int, source.removeprefix(_SCHEME).split("/"))
    shot = _draw_shot(_rng(seed, number), ACTIONS[label(number)])
    drawn = {t: _frame(shot, t) for t in set(indices)}
    return np.stack([drawn[t] for t in indices])


def digest() -> str:
    """Names what the videos show: a hash of the code that draws them."""
    modules = (__file__, sample_motion.__file__, sample_actor.__file__, sample_scene.__file__)
    return hashlib.sha256(b"".join(Path(module).read_bytes() for module in modules if module)).hexdigest()


def _rng(seed: int, number: int) -> np.random.Generator:
    # The spawn key keeps these streams apart from those of the sample set.
    return np.random.default_rng(np.random.SeedSequence((seed, number), spawn_key=(1,)))


def _length(rng: np.random.Generator) -> int:
    return int(rng.integers(_FRAMES[0], _FRAMES[1] + 1))


def _draw_shot(rng: np.random.Generator, action: str) -> _Shot:
    frames = _length(rng)
    body = sample_actor.draw_body(rng, pale=bool(rng.random() < 0.5))
    heading = rng.uniform(0, 360)
    motion, holds = _perform(rng, action, frames)
    actor = sample_actor.bones(body, motion, heading, bool(rng.random() < 0.5), holds)
    camera, feet_px = _draw_camera(rng, body.height_m)
    scene = _draw_scene(rng, feet_px)
    if rng.random() < 0.7:
        _put_chair(rng, scene, camera, body.height_m, heading, seated=action in ("Sit", "Stand"))
    luma = np.exp(rng.uniform(*np.log(_LUMA)))
    exposure = sample_scene.exposure_for(luma, scene.reflectance * scene.light + scene.glow)
    seen = sample_scene.project(actor, camera)
    view_px = _draw_view(rng, seen)
    noise = sample_scene.noise_bank(rng)
    return _Shot(
        scene=Scene(*(_with_margins(part) for part in scene[:3]), scene.to_light),
        actor=_seen_from(seen, view_px),
        shadow=_seen_from(sample_scene.project(sample_actor.shadow(actor), camera), view_px),
        view_px=view_px,
        exposures=(exposure * (1 + rng.uniform(0, 0.04) * rng.standard_normal(frames))).astype(np.float32),
        photons=float(np.exp(rng.uniform(*np.log((1000, 8000))))),
        read_noise=float(np.exp(rng.uniform(*np.log((1e-4, 1e-3))))),
        noise=noise,
        windows_px=rng.integers(0, np.subtract(noise.shape[:2], (HEIGHT_PX, WIDTH_PX)) + 1, (frames, 2)),
    )


def _perform(rng: np.random.Generator, action: str, frames: int) -> tuple[Motion, np.ndarray]:
    """One way to do the action, and when the hand holds the bottle."""
    seconds = (np.arange(frames) - (frames - 1) / 2) / FPS
    begin, end = rng.uniform(0, 0.2), rng.uniform(0.75, 1)
    phase = np.clip((np.linspace(0, 1, frames) - begin) / (end - begin), 0, 1)
    turn_deg = rng.choice([-1, 1]) * rng.uniform(90, 200)
    style = Style(seconds + rng.uniform(-1, 1), phase, rng.uniform(0.75, 1.2), rng.uniform(0.75, 1.3), turn_deg)
    motion = MOTIONS[action](style)
    if "walked_m" in motion:  # the camera may go along, and the walker pass it anywhere
        walked_m = motion["walked_m"] - np.mean(motion["walked_m"])
        motion["walked_m"] = walked_m * rng.uniform(0.05, 1)
    holds = phase >= 0.5 if action == "Pick" else np.full(frames, action in ("Drink", "Pour"))
    return motion, holds


def _draw_camera(rng: np.random.Generator, height_m: float) -> tuple[Camera, float]:
    """A camera that has the person from far to near, and the row where it has the person's feet, perhaps below."""
    height_px = np.exp(rng.uniform(*np.log((0.4, 1.3)))) * HEIGHT_PX
    head_px = rng.uniform(0.03, 0.2) * HEIGHT_PX
    feet_px = height_px + max(head_px, rng.uniform(0.5, 1) * (0.95 * HEIGHT_PX - height_px))
    distance_m, level_m = rng.uniform(3, 8), rng.uniform(0.8, 1.7)
    focal_px = height_px * distance_m / height_m
    centre_px = (rng.uniform(0.3, 0.7) * WIDTH_PX, feet_px - focal_px * level_m / distance_m)
    return Camera(distance_m, focal_px, level_m, centre_px), feet_px


def _draw_scene(rng: np.random.Generator, feet_px: float) -> Scene:
    """A room with its floor's edge somewhere above the feet, in light of any tint."""
    floor_px = int(np.clip(feet_px - rng.uniform(10, 60), 60, 290))
    scene = sample_scene.draw_scene(rng, floor_px, pale=bool(rng.random() < 0.5))
    return scene._replace(light=scene.light * rng.uniform(0.6, 1, 3).astype(np.float32))


def _put_chair(
    rng: np.random.Generator, scene: Scene, camera: Camera, height_m: float, heading: float, seated: bool
) -> None:
    beside_m = 0.0 if seated else rng.choice([-1, 1]) * rng.uniform(0.6, 1.5)
    chair = sample_actor.chair(height_m, heading if seated else rng.uniform(0, 360), beside_m)
    chair = chair._replace(colors=chair.colors * rng.uniform(0.3, 4))
    sample_scene.draw(scene.reflectance, sample_scene.project(chair, camera), scene.to_light, 0)


def _draw_view(rng: np.random.Generator, seen: Outlines) -> np.ndarray:
    """Where a hand-held camera looks in every frame: int [T, 2]. It trembles, drifts, and may follow the person."""
    seconds = np.arange(len(seen.ends_px)) / FPS
    waves = rng.normal(0, 1, (4, 2)) * rng.uniform(0, 4)
    hertz, phases = rng.uniform(0.3, 3, 4), rng.uniform(0, 2 * np.pi, 4)
    trembling = np.sin(2 * np.pi * hertz * seconds[:, None] + phases) @ waves
    drifting = (seconds - seconds.mean())[:, None] * rng.normal(0, 1, 2) * rng.uniform(0, 20)
    middle = np.median(seen.ends_px, axis=(1, 2))
    following = (middle - middle.mean(0)) * (rng.random() < 0.5) * rng.uniform(0.4, 1, 2)
    view = trembling + drifting + following
    return np.clip(np.rint(view), -_MARGIN_PX, _MARGIN_PX).astype(int)


def _seen_from(seen: Outlines, view_px: np.ndarray) -> Outlines:
    return seen._replace(ends_px=seen.ends_px - view_px[:, None, None])


def _with_margins(picture: np.ndarray) -> np.ndarray:
    across, down = _MARGIN_PX
    return np.pad(picture, ((down, down), (across, across), (0, 0)), mode="symmetric")


def _frame(shot: _Shot, t: int) -> np.ndarray:
    """uint8 [H, W, 3], RGB."""
    corner_px = (shot.view_px[t] + _MARGIN_PX)[::-1]
    reflectance, light, glow = (_cut(part, corner_px) for part in shot.scene[:3])
    reflectance = reflectance.copy()
    sample_scene.draw_shadow(reflectance, shot.shadow, t)
    sample_scene.draw(reflectance, shot.actor, shot.scene.to_light, t)
    linear = (reflectance * light + glow) * shot.exposures[t]
    return sample_scene.sense(linear, _cut(shot.noise, shot.windows_px[t]), shot.photons, shot.read_noise)


def _cut(picture: np.ndarray, corner_px: np.ndarray) -> np.ndarray:
    """The part of a frame's size whose upper left corner is (down, right)."""
    down, right = corner_px
    return picture[down : down + HEIGHT_PX, right : right + WIDTH_PX]
