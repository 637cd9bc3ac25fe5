"""A pile of videos in lines that a person reads: how many, how long, what kind, how dark, what is broken."""

from collections import Counter

import numpy as np
import pyarrow as pa

from dtcm.darkness import TAU

SHOWN = 4
"""Most frequent values of a property that are named."""
BIN = 0.05
"""Width of a bar of the histogram, in Dv."""
BAR = 50
"""Characters of the longest bar."""


def describe(manifest: pa.Table, quarantine: pa.Table) -> list[str]:
    """The summary of an index: properties, darkness with its histogram, and the quarantine by kind."""
    lines = [f"{manifest.num_rows} videos can be used, {quarantine.num_rows} are in quarantine."]
    if manifest.num_rows:
        seconds, size, frames = (manifest[name].to_numpy().sum() for name in ("duration_s", "bytes", "frames"))
        sizes = [f"{w}x{h}" for w, h in zip(*_lists(manifest, "width_px", "height_px"), strict=True)]
        lines += [
            f"{seconds / 3600:.2f} hours, {frames} frames, {size / 1e9:.3f} GB, "
            f"in {_count(manifest, 'class_name')} folders",
            f"Codecs      {_frequent(manifest['codec'].to_pylist())}",
            f"Frame sizes {_frequent(sizes)}",
            f"Frame rates {_frequent([f'{fps:.4g} fps' for fps in manifest['fps'].to_pylist()])}",
            *_rotated(manifest),
            *_copies(manifest),
            *_darkness(manifest),
        ]
    return lines + _broken(quarantine)


def histogram(dv: np.ndarray, tau: float = TAU) -> list[str]:
    """Dv of Eq. 13 as bars of text; the bar in which the limit -τ lies, and those below it, are marked."""
    bars = int((float(dv.max()) + 1) / BIN) + 1
    edges = -1 + BIN * np.arange(bars + 1)
    counts, _ = np.histogram(dv, edges)
    lines = []
    for low, count in zip(edges[:-1], counts, strict=True):
        bar = "#" * int(np.ceil(BAR * count / counts.max()))
        limit = f"   <- -τ = {-tau:g}: darker is dark" if low <= -tau < low + BIN else ""
        lines.append(f"  {low:+.2f} to {low + BIN:+.2f} {count:7d} {bar}{limit}")
    return lines


def _darkness(manifest: pa.Table) -> list[str]:
    total = manifest.num_rows
    dark, released = (manifest[name].to_numpy().sum() for name in ("is_dark", "is_dark_released"))
    return [
        f"Dark: {dark} of {total} ({dark / total:.1%}) by the paper's rule, "
        f"{released} ({released / total:.1%}) by that of the released script",
        "Dv (-1 is black, 0 normally exposed):",
        *histogram(manifest["dv"].to_numpy()),
    ]


def _rotated(manifest: pa.Table) -> list[str]:
    turned = Counter(angle for angle in manifest["rotation_deg"].to_pylist() if angle)
    kinds = ", ".join(f"{count} by {angle}°" for angle, count in sorted(turned.items()))
    return [f"Rotated     {kinds}; decoded frames stand upright"] if turned else []


def _copies(manifest: pa.Table) -> list[str]:
    copies = manifest.num_rows - _count(manifest, "sha256")
    return [f"Copies      {copies} files equal another one byte for byte"] if copies else []


def _broken(quarantine: pa.Table) -> list[str]:
    kinds = Counter(quarantine["kind"].to_pylist())
    first = {row["kind"]: row for row in reversed(quarantine.to_pylist())}
    return [
        f"Quarantine: {n} {kind}, as {first[kind]['video_id']} ({first[kind]['reason']})" for kind, n in kinds.items()
    ]


def _frequent(values: list[str]) -> str:
    counts = Counter(values).most_common()
    rest = sum(count for _, count in counts[SHOWN:])
    return ", ".join(f"{count} {value}" for value, count in counts[:SHOWN]) + (f", {rest} others" if rest else "")


def _count(manifest: pa.Table, column: str) -> int:
    return len(manifest[column].unique())


def _lists(manifest: pa.Table, *columns: str) -> list[list]:
    return [manifest[column].to_pylist() for column in columns]
