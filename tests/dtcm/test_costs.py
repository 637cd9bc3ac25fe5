"""The paper's operation counts, to the unit (Tables III-V, IX)."""

import csv
import functools
import re

import pytest
import torch
from torch import nn

from dtcm.costs import Costs, count
from dtcm.models import DTCM, create_classifier, create_enhancer

SHAPES = {"64x112x112": (1, 3, 64, 112, 112), "16x224x224": (1, 3, 16, 224, 224), "1x256x256": (1, 3, 1, 256, 256)}
ROWS = {
    "3D-ResNeXt-101": "resnext3d-101",
    "3D-ResNet-18": "r3d-18",
    "3D-ResNet-50": "r3d-50",
    "3D-ResNet-101": "r3d-101",
}
"""Classifiers by their name in the table."""


@functools.cache
def classifier(name):
    with torch.device("meta"):  # no time spent on initial weights
        return create_classifier(name, 11, 64, 112)


def classifier_costs(name, shape):
    return count(classifier(name), shape)


def joint_costs(shape):
    return count(DTCM(create_enhancer("light"), classifier("resnext3d-101"), 4), shape)


@pytest.mark.parametrize(
    ("k", "paper_ops"),
    [(1, 19_081_330_688), (2, 9_540_665_344), (4, 4_770_332_672), (8, 2_385_166_336), (16, 1_192_583_168)],
)
def test_light_enhancer_costs_what_table_9_says(k, paper_ops):
    costs = count(create_enhancer("light"), SHAPES["64x112x112"], k=k)
    assert costs == Costs(params=23_768, macs=18_227_134_464 // k, paper_ops=paper_ops)


def test_light_enhancer_without_batch_normalisation_costs_what_section_3d_says():
    enhancer = create_enhancer("light")
    for module in list(enhancer.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    assert count(enhancer, SHAPES["1x256x256"]) == Costs(22_968, 1_487_929_344, 1_505_230_848)


def test_zero_dce_costs():
    zero_dce = create_enhancer("zero-dce")
    assert count(zero_dce, SHAPES["1x256x256"]) == Costs(79_416, 5_190_451_200, 5_204_606_976)
    assert count(zero_dce, SHAPES["64x112x112"], k=1) == Costs(79_416, 63_583_027_200, 63_756_435_456)


def test_resnext_costs_what_table_3_says():
    assert classifier_costs("resnext3d-101", SHAPES["64x112x112"]) == Costs(47_543_755, 38_267_607_040, 38_466_404_352)
    assert classifier_costs("resnext3d-101", SHAPES["16x224x224"]) == Costs(47_543_755, 38_039_050_240, 38_237_448_192)


@pytest.mark.parametrize(
    ("name", "params", "paper_ops"),
    [
        ("r3d-18", 33_209_547, 33_275_127_808),
        ("r3d-50", 46_221_515, 40_409_772_032),
        ("r3d-101", 85_267_659, 55_715_860_480),
    ],
)
def test_resnets_cost_what_table_3_says(name, params, paper_ops):
    costs = classifier_costs(name, SHAPES["64x112x112"])
    assert (costs.params, costs.paper_ops) == (params, paper_ops)


def test_joint_model_costs_what_table_3_says():
    assert joint_costs(SHAPES["64x112x112"]) == Costs(47_567_523, 42_824_390_656, 43_236_737_024)
    assert joint_costs(SHAPES["16x224x224"]) == Costs(47_567_523, 42_595_833_856, 43_007_780_864)


def test_every_row_of_the_table_of_costs_that_is_built_here(reference):
    with (reference / "reference" / "paper_costs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    checked = []
    for row in rows:
        shape = SHAPES.get(row["input"])
        if shape and row["model"] in ROWS:
            costs = classifier_costs(ROWS[row["model"]], shape)
        elif shape and row["model"] == "DTCM":
            costs = joint_costs(shape)
        elif shape and row["model"] == "Zero-DCE":
            costs = count(create_enhancer("zero-dce"), shape, k=1)
        elif shape and (match := re.fullmatch(r"DTCM enhancer k=(\d+)", row["model"])):
            costs = count(create_enhancer("light"), shape, k=int(match[1]))
        else:
            continue
        expected = (row["our_params"], row["our_pure_macs"], row["our_paper_convention_ops"])
        assert costs == tuple(map(int, expected)), row["model"]
        checked.append(row["model"])
    assert len(checked) == 17


def test_costs_of_a_small_network_by_hand():
    layers = nn.Sequential(
        nn.Conv3d(2, 4, 3, padding=1, groups=2),  # 4x2x4x6 outputs of 27 weights and a bias
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.AvgPool3d(2),  # 4x1x2x3 outputs
        nn.AdaptiveAvgPool3d(1),  # 4 outputs of a window of 6
        nn.Flatten(),
        nn.Linear(4, 5),
    )
    outputs = 4 * 2 * 4 * 6
    macs = 27 * outputs + 4 * 5
    expected = Costs(4 * 27 + 4 + 8 + 4 * 5 + 5, macs, macs + outputs + 2 * outputs + 24 + 4 * 7)
    assert count(layers, (1, 2, 2, 4, 6)) == expected
    assert count(layers, (3, 2, 2, 4, 6)).paper_ops == 3 * expected.paper_ops


def test_counting_leaves_the_module_as_it_was():
    model = create_classifier("small3d", 3, 4, 16)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    count(model, (2, 3, 4, 16, 16))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model(torch.rand(2, 3, 4, 16, 16)).device.type == "cpu"
    assert not any(module._forward_hooks for module in model.modules())


def test_costs_take_several_inputs_and_a_failure_removes_the_hooks():
    bilinear = nn.Bilinear(4, 5, 2)
    assert count(bilinear, (3, 4), (3, 5)).params == 4 * 5 * 2 + 2
    with pytest.raises(RuntimeError):
        count(bilinear, (3, 4), (3, 6))
    assert not bilinear._forward_hooks
