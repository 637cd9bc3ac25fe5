"""The built-in sample set: ARID in small, made instead of downloaded.

Rendered people do ARID's eleven actions in dark rooms, in real H.264 files under ARID's names and list
files, so that the whole system can be tried with no data at hand. What a clip shows follows from
(seed, action, group, index) alone.
"""

import contextlib
import functools
import hashlib
import json
import os
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from dtcm.children import process_pool
from dtcm.data import sample_actor, sample_motion, sample_scene
from dtcm.data.sample_actor import Body, Bones
from dtcm.data.sample_motion import MOTIONS, Style
from dtcm.data.sample_scene import HEIGHT_PX, WIDTH_PX, Camera, Scene
from dtcm.errors import BadInput

ACTIONS = tuple(MOTIONS)
"""The eleven actions by class number."""
FPS = 30
GROUPS = 12
"""Pairs of a person and a room, numbered from 1."""
CLIPS_PER_CLASS = 20
SPLITS = (1, 2, 3)

_FRAMES = {
    "Drink": (60, 105), "Jump": (36, 60), "Pick": (48, 90), "Pour": (60, 105), "Push": (45, 80), "Run": (33, 60),
    "Sit": (42, 75), "Stand": (42, 75), "Turn": (34, 70), "Walk": (48, 80), "Wave": (48, 105),
}  # fmt: skip
"""Fewest and most frames of a clip, by action."""
_LUMA = (7.5, 36.0)
"""Mean luma of the darkest and the brightest group, in 0..255; ARID's median is about 16."""
_MARKER = "sample.json"


class ClipId(NamedTuple):
    """One clip, named as ARID names it: Class_group_index."""

    action: str
    group: int
    index: int

    @property
    def path(self) -> str:
        """The clip's file, relative to the folder of clips."""
        return f"{self.action}/{self.action}_{self.group}_{self.index}.mp4"


def make_sample(
    folder: Path | None = None, clips_per_class: int = CLIPS_PER_CLASS, seed: int = 0, processes: int | None = None
) -> Path:
    """The folder of the sample set, which is written if it is not there yet (about 25 s on two cores).

    It holds `clips/<Class>/<Class>_<group>_<index>.mp4` and, in `lists/`, ARID's list files. The set appears
    whole or not at all: it is written beside its place and renamed, so several processes may ask at once.

    Args:
        folder: where; by default a folder below DTCM_CACHE, or ~/.cache/dtcm, named by what it holds.
        clips_per_class: dealt to the groups in turn; fewer than GROUPS leave the last groups out.
        seed: another seed makes other people, rooms and motions.
        processes: how many render; by default one per core, 8 at most.

    Raises:
        BadInput: fewer than 4 clips per class, which leave a split without a test part, or a folder that
            holds something else.
    """
    if clips_per_class < 4:
        raise BadInput(f"A sample set needs at least 4 clips per class, not {clips_per_class}.")
    digest = _digest(clips_per_class, seed)
    cache = Path(os.environ.get("DTCM_CACHE", "~/.cache/dtcm")).expanduser()
    folder = Path(folder) if folder else cache / f"sample-{digest}"
    if _is_made(folder, digest):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        made = Path(scratch) / "sample"
        _write_set(made, _deal(clips_per_class), seed, processes or min(os.cpu_count() or 1, 8))
        (made / _MARKER).write_text(
            json.dumps({"digest": digest, "clips_per_class": clips_per_class, "seed": seed}) + "\n"
        )
        _move_into_place(made, folder, digest)
    return folder


def render_clip(action: str, group: int, index: int, seed: int = 0, *, bright: bool = False) -> np.ndarray:
    """The frames of one clip before encoding: uint8 [T, 240, 320, 3], RGB, 30 a second.

    Args:
        action: one of ACTIONS.
        group: from 1; fixes the person, the room, and how dark it is.
        index: from 1; varies view, size, speed, handedness and noise.
        seed: the seed of the set.
        bright: the same clip, well exposed and without noise.
    """
    of_clip = np.random.default_rng(np.random.SeedSequence((seed, ACTIONS.index(action), group, index)))
    body, scene, luma = _draw_group(seed, group)
    actor, chair, camera = _stage(action, body, of_clip)
    seen = sample_scene.project(actor, camera)
    spot = sample_scene.project(sample_actor.shadow(actor), camera)
    luma *= of_clip.uniform(0.88, 1.12)
    room = scene.reflectance.copy()
    sample_scene.draw(room, sample_scene.project(chair, camera), scene.to_light, 0)
    photons, read_noise = of_clip.uniform(3000, 6000), 2e-4
    flicker = of_clip.uniform(0, 0.02)
    if bright:
        luma, photons, read_noise, flicker = 110.0, np.inf, 0.0, 0.0
    exposure = sample_scene.exposure_for(luma, room * scene.light + scene.glow)
    exposures = (exposure * (1 + flicker * of_clip.standard_normal(len(actor.ends_m)))).astype(np.float32)
    noise = sample_scene.noise_bank(of_clip)

    frames = np.empty((len(exposures), HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    for t in range(len(frames)):
        reflectance = room.copy()
        sample_scene.draw_shadow(reflectance, spot, t)
        sample_scene.draw(reflectance, seen, scene.to_light, t)
        linear = (reflectance * scene.light + scene.glow) * exposures[t]
        frames[t] = sample_scene.sense(linear, sample_scene.window(noise, of_clip), photons, read_noise)
    return frames


def write_clip(path: Path, frames: np.ndarray) -> None:
    """Encode uint8 [T, H, W, 3] as H.264 in yuv420p at 30 frames a second; equal frames give equal bytes."""
    with av.open(str(path), "w") as container:
        options = {"crf": "18", "preset": "ultrafast", "x264-params": "cabac=1:8x8dct=1:bframes=2"}
        stream = container.add_stream("libx264", rate=Fraction(FPS), options=options)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())


@functools.lru_cache(maxsize=GROUPS)
def _draw_group(seed: int, group: int) -> tuple[Body, Scene, float]:
    """What the clips of a group share: the person, the room, and about how dark it is (mean luma).

    Darkness is spread evenly over the groups, in steps of five, so that every split tests on all of it.
    """
    rng = np.random.default_rng(np.random.SeedSequence((seed, group)))
    pale_clothes = bool(rng.random() < 0.5)
    body = sample_actor.draw_body(rng, pale_clothes)
    scene = sample_scene.draw_scene(rng, int(rng.integers(165, 205)), pale=not pale_clothes)
    return body, scene, float(np.exp(np.interp(group * 5 % GROUPS, (0, GROUPS - 1), np.log(_LUMA))))


def _stage(action: str, body: Body, rng: np.random.Generator) -> tuple[Bones, Bones, Camera]:
    """One performance: the moving person, the chair, and the camera that sees them."""
    frames = int(rng.integers(_FRAMES[action][0], _FRAMES[action][1] + 1))
    seconds = (np.arange(frames) - (frames - 1) / 2) / FPS
    begin, end = rng.uniform(0, 0.12), rng.uniform(0.88, 1)
    phase = np.clip((np.linspace(0, 1, frames) - begin) / (end - begin), 0, 1)
    turn_deg = rng.choice([-1, 1]) * rng.uniform(90, 180)
    style = Style(seconds + rng.uniform(-0.1, 0.1), phase, rng.uniform(0.85, 1.15), rng.uniform(0.9, 1.1), turn_deg)
    heading = rng.uniform(-50, 50) + (180 if rng.random() < 0.2 else 0)
    holds = phase >= 0.5 if action == "Pick" else np.full(frames, action in ("Drink", "Pour"))
    actor = sample_actor.bones(body, MOTIONS[action](style), heading, bool(rng.random() < 0.8), holds)
    seated = action in ("Sit", "Stand")
    beside = 0.0 if seated else rng.choice([-1, 1]) * rng.uniform(0.75, 1.3)
    chair = sample_actor.chair(body.height_m, heading if seated else rng.uniform(-90, 90), beside)
    height_px = rng.uniform(0.6, 0.76) * HEIGHT_PX
    distance = rng.uniform(5, 8)
    focal = height_px * distance / body.height_m
    level = rng.uniform(0.9, 1.3)
    feet_px = HEIGHT_PX / 2 + height_px * rng.uniform(0.5, 0.54)
    camera = Camera(distance, focal, level, (WIDTH_PX / 2 + rng.uniform(-16, 16), feet_px - focal * level / distance))
    return actor, chair, camera


def _deal(clips_per_class: int) -> list[ClipId]:
    """Every clip of the set, the groups taking turns."""
    return [ClipId(action, i % GROUPS + 1, i // GROUPS + 1) for action in ACTIONS for i in range(clips_per_class)]


def _tests(split: int, group: int) -> bool:
    """Whether a group is tested on: every fourth, other ones in each split."""
    return group % 4 == split


def _write_set(root: Path, clips: list[ClipId], seed: int, processes: int) -> None:
    (root / "lists").mkdir(parents=True)
    for action in ACTIONS:
        (root / "clips" / action).mkdir(parents=True)
    write = functools.partial(_write_one, root / "clips", seed)
    if processes == 1:
        for clip in clips:
            write(clip)
    else:
        with process_pool(processes) as pool:
            list(pool.map(write, clips, chunksize=4))
    for split in SPLITS:
        for part in ("train", "test"):
            chosen = [clip for clip in clips if _tests(split, clip.group) == (part == "test")]
            rows = [f"{i}\t{ACTIONS.index(clip.action)}\t{clip.path}\n" for i, clip in enumerate(chosen)]
            (root / "lists" / f"ARID_split{split}_{part}.txt").write_text("".join(rows))
    (root / "lists" / "ARID_mapping_table.txt").write_text("".join(f"{i}\t{name}\n" for i, name in enumerate(ACTIONS)))


def _write_one(clips: Path, seed: int, clip: ClipId) -> None:
    write_clip(clips / clip.path, render_clip(*clip, seed))


def _digest(clips_per_class: int, seed: int) -> str:
    """Names what a set holds: its parameters and the code that renders it."""
    modules = (__file__, sample_motion.__file__, sample_actor.__file__, sample_scene.__file__)
    sources = [Path(module).read_bytes() for module in modules if module]
    return hashlib.sha256(b"".join(sources) + repr((clips_per_class, seed)).encode()).hexdigest()[:12]


def _is_made(folder: Path, digest: str) -> bool:
    """Whether the folder holds this set, whole. Raises BadInput where it holds anything that is not ours to replace."""
    if (folder / _MARKER).is_file():
        if json.loads((folder / _MARKER).read_text())["digest"] == digest:
            return True
        raise BadInput(
            f"{folder} holds a sample set of other parameters or of another version; name another folder or remove it."
        )
    if folder.exists() and {path.name for path in folder.iterdir()} - {"clips", "lists"}:
        raise BadInput(f"{folder} is not empty; name a new folder for the sample set.")
    return False


def _move_into_place(made: Path, folder: Path, digest: str) -> None:
    """Rename the set to its place, unless another process was faster; a half-written one there makes way."""
    if _is_made(folder, digest):
        return
    with contextlib.suppress(FileNotFoundError):
        folder.rename(made.with_name("half-written"))
    try:
        made.rename(folder)
    except OSError:
        if not _is_made(folder, digest):
            raise
