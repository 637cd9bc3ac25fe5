"""What one complete reading of a video tells: the index's columns. It needs no torch, whose import takes longer than
many a video and 200 MB in each process that decodes."""

import functools
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from dtcm.darkness import Rule, judge, mean_luma, sampled_indices
from dtcm.data.decode import Look, audit_looks
from dtcm.data.files import is_uri, read_bytes
from dtcm.data.fingerprint import SIDE, fingerprint_indices, from_thumbnails
from dtcm.data.frames import Shown

RULES: tuple[Rule, ...] = ("paper", "released")


def read_facts(path: str) -> dict[str, Any]:
    """What a complete reading of a video gives, a value for each column of FACTS but the file's size and time.

    Raises UnreadableVideo, and OSError or BadInput where the file cannot be fetched.
    """
    source = read_bytes(path) if is_uri(path) else path
    info, (*lumas_8, small_T) = audit_looks(source, LOOKS)
    paper, released = (judge(np.array(luma_8), rule) for luma_8, rule in zip(lumas_8, RULES, strict=True))
    return {
        "sha256": _sha256(source),
        "width_px": info.width_px,
        "height_px": info.height_px,
        "fps": info.fps,
        "frames": info.frames,
        "duration_s": info.duration_s,
        "codec": info.codec,
        "rotation_deg": info.rotation_deg,
        "dv": paper.dv,
        "mean_luma": paper.mean_luma,
        "is_dark": paper.is_dark,
        "dv_released": released.dv,
        "mean_luma_released": released.mean_luma,
        "is_dark_released": released.is_dark,
        "fingerprint": from_thumbnails(np.array(small_T)).tolist(),
    }


def _luma(shown: Shown) -> float:
    return float(mean_luma(shown.rgb()[None])[0])


def _thumbnail(shown: Shown) -> np.ndarray:
    return shown.cells(SIDE)


LOOKS: list[Look] = [*((functools.partial(sampled_indices, rule=rule), _luma) for rule in RULES)]
LOOKS += [(fingerprint_indices, _thumbnail)]
"""What is kept of a video: the luma of the frames by which each rule judges, and thumbnails for the fingerprint."""


def _sha256(source: bytes | str) -> str:
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    digest = hashlib.sha256()
    with Path(source).open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
