import json
import math

import pyarrow as pa
import pytest
import torch
from torch import nn

from components.halt import check_not_halted, finite, halt
from components.runs import Run
from components.storage import Folder
from dtcm.config import DataConfig, Experiment
from dtcm.data.plan import Plan
from dtcm.errors import BadInput


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_neither_figures_nor_weights_may_be_anything_but_numbers(value):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    assert finite({"total": 1.0, "ar": 0.0}, model)
    assert not finite({"total": 1.0, "ar": value}, model)
    with torch.no_grad():
        model.get_parameter("1.bias").fill_(value)
    assert finite({"total": 1.0})
    assert not finite({"total": 1.0}, model)


def test_the_clips_of_the_step_are_written_down_and_said(tmp_path):
    manifest = pa.table({"video_id": ["d", "c", "b", "a"], "subset": ["train", "val", "train", "train"]})
    plan = Plan((20, 30, 40), DataConfig(frames=4, width_px=20, height_px=20, crop_px=20), batch=2, epochs=9, seed=0)
    run = Run("run", Folder(str(tmp_path)), Experiment())
    check_not_halted(run)
    halt(run, manifest, plan.rows(6), {"total": math.nan, "ar": 1.5})
    found = json.loads((tmp_path / "not_finite.json").read_text(), parse_constant=pytest.fail)
    assert found["step"] == 7
    assert found["metrics"] == {"total": "nan", "ar": "1.5"}
    # The plan counts training videos by their sorted ids: a, b, d.
    assert found["video_ids"] == [("a", "b", "d")[row.video] for row in plan.rows(6)]
    assert [clip["frames"] for clip in found["clips"]] == [list(row.frames) for row in plan.rows(6)]
    with pytest.raises(BadInput, match=r"loss or the weights of step 7 are not finite; .*/not_finite\.json names"):
        check_not_halted(run)
