"""The place of the sample set: camera, room, light and sensor, from capsules in metres to dark frames.

A frame is reflectance x light x exposure in linear units. The sensor adds photon shot noise (variance
in proportion to the signal) and read noise, and codes the result with gamma 2, so that both show as
they do in a camera that lacks light.
"""

from typing import NamedTuple

import numpy as np

from dtcm.data.sample_actor import Bones

WIDTH_PX, HEIGHT_PX = 320, 240
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_SPARE_PX = 64


class Camera(NamedTuple):
    """A level pinhole camera that looks at the person's middle."""

    distance_m: float
    focal_px: float
    height_m: float
    center_px: tuple[float, float]
    """Where the camera's axis, `height_m` above the floor, meets the image: x from the left, y from the top."""


class Outlines(NamedTuple):
    """Capsules in the image."""

    ends_px: np.ndarray
    """[T, bones, 2, 2] as (x, y)."""
    radii_px: np.ndarray
    """[T, bones, 2]."""
    depth_m: np.ndarray
    """[T, bones], distance from the camera."""
    colors: np.ndarray
    """[bones, 3], linear reflectance."""


class Scene(NamedTuple):
    """What stands still: reflectance of the room, and the light on it."""

    reflectance: np.ndarray
    """[H, W, 3]."""
    light: np.ndarray
    """[H, W, 3], irradiance with the lamp's colour."""
    glow: np.ndarray
    """[H, W, 3], what shines by itself."""
    to_light: np.ndarray
    """[3], unit direction to the lamp: right, up, towards the camera."""


def draw_scene(rng: np.random.Generator, floor_px: int, pale: bool) -> Scene:
    """A room at random: pale or dark wall, floor from row `floor_px` on, furniture, a window, and one lamp."""
    y, x = np.mgrid[:HEIGHT_PX, :WIDTH_PX].astype(np.float32)
    wall, floor = (
        rng.uniform(low, high) * rng.uniform(0.85, 1, 3)
        for low, high in (((0.4, 0.6), (0.25, 0.4)) if pale else ((0.1, 0.2), (0.07, 0.15)))
    )
    reflectance = np.where((y < floor_px)[..., None], wall, floor) * _texture(rng, x, y)[..., None]
    if rng.random() < 0.5:
        reflectance *= 1 - 0.15 * ((x // rng.integers(6, 24)) % 2 * (y < floor_px))[..., None]
    for _ in range(rng.integers(2, 5)):
        wide, high, left = rng.integers(24, 90), rng.integers(30, 120), rng.integers(-20, WIDTH_PX)
        foot = floor_px + rng.integers(-60, 12)
        paint = rng.uniform(0.6, 1.3) * rng.uniform(0.85, 1, 3)
        reflectance[max(foot - high, 0) : foot, max(left, 0) : max(left + wide, 0)] *= paint
    lamp = np.array([rng.uniform(-0.2, 1.2) * WIDTH_PX, rng.uniform(-0.4, 0.3) * HEIGHT_PX])
    near = 1 / (1 + ((x - lamp[0]) ** 2 + (y - lamp[1]) ** 2) / rng.uniform(130, 260) ** 2)
    vignette = 1 - 0.35 * (((x / WIDTH_PX - 0.5) ** 2 + (y / HEIGHT_PX - 0.5) ** 2) / 0.5)
    tint = np.array([1.0, rng.uniform(0.82, 1.0), rng.uniform(0.6, 1.05)])
    light = ((0.25 + near) * vignette)[..., None] * tint
    to_light = np.array([(lamp[0] / WIDTH_PX - 0.5) * 1.5, 0.6, rng.uniform(0.3, 0.9)])
    scene = (reflectance.clip(0.01, 0.9), light, _pane(rng, x, y, floor_px), to_light / np.linalg.norm(to_light))
    return Scene(*(part.astype(np.float32) for part in scene))


def project(bones: Bones, camera: Camera) -> Outlines:
    """The capsules as the camera sees them."""
    right, up, towards = np.moveaxis(bones.ends_m, -1, 0)
    depth = np.maximum(camera.distance_m - towards, 0.5)
    scale = camera.focal_px / depth
    ends = np.stack([camera.center_px[0] + scale * right, camera.center_px[1] - scale * (up - camera.height_m)], -1)
    return Outlines(ends, scale * bones.radii_m, depth.mean(-1), bones.colors.astype(np.float32))


def draw(reflectance: np.ndarray, seen: Outlines, to_light: np.ndarray, frame: int) -> None:
    """Draw the capsules of one frame, the farthest first, onto `reflectance` [H, W, 3] in place."""
    for i in np.argsort(-seen.depth_m[frame]):
        _capsule(reflectance, seen.ends_px[frame, i], seen.radii_px[frame, i], seen.colors[i], to_light)


def draw_shadow(reflectance: np.ndarray, spot: Outlines, frame: int) -> None:
    """Darken an ellipse of the floor, in place, where the capsule `spot` lies."""
    (x, y), radius = spot.ends_px[frame, 0, 0], spot.radii_px[frame, 0, 0]
    rows, columns = _box(y - radius / 3, y + radius / 3, HEIGHT_PX), _box(x - radius, x + radius, WIDTH_PX)
    down, across = (np.arange(rows.start, rows.stop)[:, None] - y) * 3, np.arange(columns.start, columns.stop) - x
    dark = 0.6 * np.maximum(1 - (down**2 + across**2) / radius**2, 0)
    reflectance[rows, columns] *= (1 - dark)[..., None].astype(np.float32)


def exposure_for(luma: float, linear: np.ndarray) -> float:
    """The factor that codes `linear` [H, W, 3] with this mean luma, in 0..255, by bisection of its logarithm."""
    low, high, coarse = -20.0, 8.0, linear[::4, ::4]
    for _ in range(24):
        middle = (low + high) / 2
        coded = 255 * np.sqrt(np.clip(coarse * np.exp(middle), 0, 1))
        low, high = (middle, high) if (coded @ LUMA).mean() < luma else (low, middle)
    return float(np.exp(low))


def noise_bank(rng: np.random.Generator) -> np.ndarray:
    """Unit normal noise, larger than a frame; each frame takes a `window` of it, cheaper than noise of its own."""
    return rng.standard_normal((HEIGHT_PX + _SPARE_PX, WIDTH_PX + _SPARE_PX, 3), dtype=np.float32)


def window(bank: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A part of the bank of a frame's size [H, W, 3], at a random place."""
    top, left = rng.integers(0, _SPARE_PX + 1, 2)
    return bank[top : top + HEIGHT_PX, left : left + WIDTH_PX]


def sense(linear: np.ndarray, noise: np.ndarray, photons: float, read_noise: float) -> np.ndarray:
    """What the sensor makes of `linear` [H, W, 3] in 0..1: uint8, gamma 2.

    Args:
        linear: exposed light; 1 saturates.
        noise: unit normal noise of the same shape.
        photons: electrons of a saturated pixel; shot noise has the standard deviation sqrt(linear / photons).
        read_noise: standard deviation of the noise without light, as a share of saturation.
    """
    noisy = linear + noise * np.sqrt(linear * (1 / photons) + read_noise**2)
    return (255 * np.sqrt(np.clip(noisy, 0, 1)) + 0.5).astype(np.uint8)


def _capsule(canvas: np.ndarray, ends: np.ndarray, radii: np.ndarray, color: np.ndarray, to_light: np.ndarray) -> None:
    """Blend one tapered capsule onto `canvas`, shaded as the round solid that it is, with a soft edge of a pixel."""
    (ax, ay), (bx, by) = ends
    rim = radii.max() + 1
    rows = _box(min(ay, by) - rim, max(ay, by) + rim, HEIGHT_PX)
    columns = _box(min(ax, bx) - rim, max(ax, bx) + rim, WIDTH_PX)
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(ay)
    x = np.arange(columns.start, columns.stop, dtype=np.float32) - np.float32(ax)
    dx, dy = np.float32(bx - ax), np.float32(by - ay)
    along = np.minimum(np.maximum((x * dx + y * dy) / max(dx * dx + dy * dy, np.float32(1e-3)), 0), 1)
    radius = np.float32(radii[0]) + along * np.float32(radii[1] - radii[0])
    x, y = (x - along * dx) / radius, (y - along * dy) / radius
    squared = x * x + y * y
    cover = np.minimum(np.maximum((1 - np.sqrt(squared)) * radius + np.float32(0.5), 0), 1)
    facing = x * to_light[0] - y * to_light[1] + np.sqrt(np.maximum(1 - squared, 0)) * to_light[2]
    shade = np.float32(0.5) + np.float32(0.7) * np.maximum(facing, 0)
    patch = canvas[rows, columns]
    patch += cover[..., None] * (shade[..., None] * color - patch)


def _box(low: float, high: float, size: int) -> slice:
    """The pixels of an interval, as far as they lie within the image; empty where none does."""
    return slice(int(min(max(low, 0), size)), int(min(max(high + 1, 0), size)))


def _texture(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A mottle about 1: a few waves of random directions, and grain."""
    mottle = np.ones_like(x)
    for wave in rng.normal(0, 0.06, (6, 2)):
        mottle += 0.03 * np.cos(wave[0] * x + wave[1] * y + rng.uniform(0, 2 * np.pi))
    return mottle + rng.normal(0, 0.03, x.shape)


def _pane(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, floor_px: int) -> np.ndarray:
    """A bright pane high on the wall, left or right of the middle, with a halo; or none."""
    wide, high, brightness = rng.uniform(10, 40), rng.uniform(8, 40), rng.choice([0, 0.3, 2.0])
    across = np.abs(x - rng.choice([rng.uniform(0, 70), rng.uniform(250, WIDTH_PX)])) - wide / 2
    along = np.abs(y - rng.uniform(0, 0.35) * floor_px) - high / 2
    outside = np.hypot(np.maximum(across, 0), np.maximum(along, 0))
    pane = (outside <= 0) + 0.04 * np.exp(-outside / 15)
    return (brightness * pane)[..., None] * np.array([1.0, 0.95, 0.85])
