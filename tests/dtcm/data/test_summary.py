"""The summary of an index says what is in it."""

import numpy as np
import pyarrow as pa

from dtcm.data.records import MANIFEST, QUARANTINE
from dtcm.data.summary import describe, histogram

ROW = {
    "video_id": "a.mp4",
    "path": "/d/a.mp4",
    "label": 0,
    "class_name": "Drink",
    "group": "",
    "subset": "train",
    "source": "",
    "bytes": 500_000_000,
    "modified_s": 0.0,
    "sha256": "aa",
    "width_px": 320,
    "height_px": 240,
    "fps": 30.0,
    "frames": 54_000,
    "duration_s": 1800.0,
    "codec": "h264",
    "rotation_deg": 0,
    "dv": -0.9,
    "mean_luma": 11.2,
    "is_dark": True,
    "dv_released": -0.87,
    "mean_luma_released": 14.5,
    "is_dark_released": False,
    "fingerprint": [0] * 9,
}
BRIGHT = {"sha256": "bb", "dv": 0.1, "is_dark": False, "rotation_deg": 90, "codec": "av1", "class_name": "Run"}
BROKEN = {"video_id": "x.mp4", "path": "/d/x.mp4", "kind": "empty", "reason": "empty: the file has 0 bytes"}


def manifest(*rows):
    return pa.Table.from_pylist([ROW | row for row in rows], MANIFEST)


def test_the_summary_counts_what_is_there():
    quarantine = pa.Table.from_pylist([BROKEN, BROKEN | {"video_id": "y.mp4"}], QUARANTINE)
    text = "\n".join(describe(manifest({}, {"video_id": "b.mp4"}, BRIGHT), quarantine))
    for promised in (
        "3 videos can be used, 2 are in quarantine",
        "1.50 hours, 162000 frames, 1.500 GB, in 2 folders",
        "2 h264, 1 av1",
        "3 320x240",
        "1 by 90°",
        "1 files equal another",
        "Dark: 2 of 3 (66.7%) by the paper's rule, 0 (0.0%)",
        "2 empty, as x.mp4 (empty: the file has 0 bytes)",
    ):
        assert promised in text


def test_nothing_usable_is_said_too():
    lines = describe(MANIFEST.empty_table(), pa.Table.from_pylist([BROKEN], QUARANTINE))
    assert lines[0] == "0 videos can be used, 1 are in quarantine."


def test_each_video_is_in_one_bar_and_the_limit_is_marked_once():
    dv = np.array([-1.0, -0.88, -0.87, -0.12, 0.3, 1.27])
    lines = histogram(dv)
    assert sum(int(line.split()[3]) for line in lines) == len(dv)
    (marked,) = (line for line in lines if "τ" in line)
    assert marked.split()[:4] == ["-0.90", "to", "-0.85", "2"]
