"""The rule of Eq. 14 on real videos: how much of ARID it calls dark, and that bright videos are bright."""

import pytest

from dtcm.darkness import darkness


@pytest.mark.parametrize(
    ("folder", "dark", "darkest", "brightest"),
    # τ = 0.877 is Dark-48's and stricter than ARID: of its clips about four in ten are dark by it, while all
    # are far from any bright one.
    [("arid6/clips", 61, -0.95, -0.67), ("arid11", 9, -1.0, -0.59), ("bright", 0, -0.45, 0.43)],
)
def test_the_extent_to_which_real_videos_are_dark(reference, folder, dark, darkest, brightest):
    found = [darkness(path) for path in sorted((reference / "data" / folder).glob("*/*")) if path.is_file()]
    assert sum(each.is_dark for each in found) == dark
    assert min(each.dv for each in found) == pytest.approx(darkest, abs=0.01)
    assert max(each.dv for each in found) == pytest.approx(brightest, abs=0.01)
