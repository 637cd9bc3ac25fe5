import re

import numpy as np

from dtcm import metrics, report, report_figures


def test_what_comes_from_outside_is_escaped():
    evil = "<script>alert(1)</script>"
    found = report.page(
        evil, evil, [(evil, report.table((evil,), [(evil, evil)], evil) + report.tiles({evil: (evil, evil)}))]
    )
    assert "<script" not in found
    assert found.count("&lt;script&gt;") >= 7


def test_a_page_asks_for_nothing_from_elsewhere():
    png = report_figures.reliability(metrics.reliability(np.array([[1.0, 0.0]]), np.array([0])), 0.1)
    found = report.page("t", "s", [("a", report.figures([report.figure(png, "dots")])), ("left out", "")])
    assert set(re.findall(r'(?:src|href)="([^"]{5})', found)) == {"data:"}
    assert "left out" not in found
