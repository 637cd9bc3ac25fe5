import io
import re

import numpy as np
import pytest
from matplotlib.image import imread

from dtcm import metrics, report, report_figures


def test_what_comes_from_outside_is_escaped():
    evil = "<script>alert(1)</script>"
    more = report.figure(b"<?xml?>", evil, evil) + report.strips(evil, evil, report.code(evil), [(evil, b"<?xml?>")])
    found = report.page(
        evil, evil, [(evil, report.table((evil,), [(evil, evil)], evil) + report.tiles({evil: (evil, evil)}) + more)]
    )
    assert "<script" not in found
    assert found.count("&lt;script&gt;") == 22


def test_a_page_asks_for_nothing_from_elsewhere():
    png = report_figures.reliability(metrics.reliability(np.array([[1.0, 0.0]]), np.array([0])))
    found = report.page("t", "s", [("a", report.figures([report.figure(png, "dots")])), ("left out", "")])
    assert set(re.findall(r'(?:src|href)="([^"]{2})', found)) == {"da", "#a"}
    assert "left out" not in found


def test_a_long_curve_keeps_its_extremes_and_little_else():
    values = np.zeros(100_000)
    values[[700, 70_000]] = 5, -3
    places, thinned = report_figures._thinned(range(100_000), values)
    assert len(places) == len(thinned) == 2 * report_figures.STRETCHES
    assert thinned.max() == 5
    assert thinned.min() == -3
    assert abs(places[thinned.argmax()] - 700) < 100_000 / report_figures.STRETCHES


@pytest.mark.parametrize(("largest", "drawn"), [(20.0, "linear"), (2000.0, "log")])
def test_a_curve_that_falls_steeply_is_drawn_on_a_logarithmic_axis(largest, drawn, monkeypatch):
    scales = []
    monkeypatch.setattr(report_figures, "_svg", lambda figure, axis: scales.append(axis.get_yscale()) or b"")
    report_figures.curve(range(100), [largest] + [1.0] * 99, "loss")
    assert scales == [drawn]


def test_a_strip_has_the_frames_pixels_beside_each_other():
    frames = np.random.default_rng(0).integers(0, 255, (3, 4, 5, 3), dtype=np.uint8)
    shown = np.round(255 * imread(io.BytesIO(report_figures.strip(frames, gap_px=2)))).astype(np.uint8)[..., :3]
    assert shown.shape == (4, 3 * 5 + 2 * 2, 3)
    for place in range(3):
        assert (shown[:, 7 * place : 7 * place + 5] == frames[place]).all()
