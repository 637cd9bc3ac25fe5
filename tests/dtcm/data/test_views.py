import pytest

from dtcm.config import DataConfig
from dtcm.data.plan import centre_rows
from dtcm.data.views import Views, view_row, windows
from dtcm.errors import BadInput

DATA = DataConfig(frames=8, stride=1, width_px=40, height_px=30, crop_px=24)


@pytest.mark.parametrize("total", [3, 8, 9, 100])
def test_a_single_view_is_the_paper_s_central_clip(total):
    assert view_row(total, DATA, Views(), 0) == centre_rows((total,), DATA)[0]


def test_clips_and_crops_are_spread_from_end_to_end():
    views = Views(clips=3, crops=3)
    rows = [view_row(29, DATA, views, number) for number in range(views.count)]
    assert [row.frames[0] for row in rows] == [0, 0, 0, 11, 11, 11, 21, 21, 21]  # 10.5 rounds up
    assert [row.x_px for row in rows] == [0, 8, 16] * 3
    assert {row.y_px for row in rows} == {3}


def test_crops_lie_along_the_longer_side():
    tall = DataConfig(frames=8, width_px=24, height_px=40, crop_px=24)
    assert [view_row(9, tall, Views(crops=3), number).y_px for number in range(3)] == [0, 8, 16]


def test_windows_follow_each_other_to_the_very_end():
    assert windows(20, DATA, 5) == [0, 5, 10, 12]
    assert windows(18, DATA, 5) == [0, 5, 10]
    assert windows(8, DATA, 5) == [0]
    assert windows(3, DATA, 5) == [0]
    assert windows(20, DATA, 0) == [6]


def test_no_view_and_no_backward_hop():
    with pytest.raises(BadInput, match="1 or more"):
        Views(clips=0)
    with pytest.raises(BadInput, match="-1"):
        windows(20, DATA, -1)
