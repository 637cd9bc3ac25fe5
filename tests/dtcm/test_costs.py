"""The paper's operation counts, to the unit (Tables III-V, IX)."""

import csv
import functools
import importlib.util
import re

import pytest
import torch
from torch import nn

from dtcm.costs import Costs, count, training_macs
from dtcm.models import DTCM, create_classifier, create_enhancer

SHAPES = {"64x112x112": (1, 3, 64, 112, 112), "16x224x224": (1, 3, 16, 224, 224), "1x256x256": (1, 3, 1, 256, 256)}
ZERO_DCE_64 = Costs(79_416, 63_583_027_200, 63_756_435_456)
"""Zero-DCE on 64 frames of 112x112."""
COSTS = {
    # classifier, classes, T, size: parameters, multiply-accumulates, the paper's convention
    ("resnext3d-101", 11, 64, 112): Costs(47_543_755, 38_267_607_040, 38_466_404_352),
    ("resnext3d-101", 11, 16, 224): Costs(47_543_755, 38_039_050_240, 38_237_448_192),
    ("r3d-18", 11, 64, 112): Costs(33_209_547, 33_231_214_080, 33_275_127_808),
    ("r3d-18", 11, 16, 224): Costs(33_209_547, 32_857_658_880, 32_901_488_128),
    ("r3d-50", 11, 64, 112): Costs(46_221_515, 40_273_991_680, 40_409_772_032),
    ("r3d-50", 11, 16, 224): Costs(46_221_515, 39_845_386_240, 39_980_813_312),
    ("r3d-101", 11, 64, 112): Costs(85_267_659, 55_559_608_320, 55_715_860_480),
    ("r3d-101", 11, 16, 224): Costs(85_267_659, 55_131_002_880, 55_286_901_760),
    ("mobilenet3d-v1", 11, 64, 112): Costs(3_309_259, 929_677_312, 952_064_000),
    ("mobilenet3d-v2", 11, 64, 112): Costs(2_368_139, 2_073_133_312, 2_186_529_536),
    ("shufflenet3d-v1", 11, 64, 112): Costs(955_475, 748_550_976, 775_719_744),
    ("shufflenet3d-v1", 11, 16, 224): Costs(955_475, 740_674_176, 767_684_544),
    ("shufflenet3d-v2", 11, 64, 112): Costs(1_310_455, 743_704_032, 764_464_032),
    ("squeezenet3d", 11, 64, 112): Costs(1_843_403, 3_591_127_040, 3_657_995_211),
    ("c3d", 600, 16, 224): Costs(181_122_776, 131_943_727_104, 132_211_666_944),
    ("i3d-rgb", 11, 64, 112): Costs(12_298_539, 27_930_280_960, 27_974_946_381),
    ("i3d-rgb", 11, 16, 224): Costs(12_298_539, 27_787_580_416, 27_832_108_491),
    ("r2plus1d-34", 11, 64, 112): Costs(63_497_618, 304_711_026_176, 305_513_129_248),
    ("tsn-r50", 400, 8, 224): Costs(24_327_632, 32_703_643_648, 32_882_286_592),
    ("tsm-r50", 400, 8, 224): Costs(24_327_632, 32_703_643_648, 32_882_286_592),
    ("tin-r50", 174, 8, 224): Costs(23_895_566, 32_790_093_696, 32_968_736_640),
    ("slowfast-r50", 48, 64, 224): Costs(33_755_128, 100_615_434_240, 101_161_752_832),
    ("darklight-r2plus1d-34", 11, 64, 112): Costs(66_659_218, 609_475_820_032, 611_079_623_744),
    ("darklight-resnext3d-101", 11, 64, 112): Costs(97_922_507, 76_988_508_160, 77_386_098_688),
    ("s3d", 11, 16, 224): Costs(7_921_323, 17_978_373_120, 18_066_643_147),
    ("video-swin-b", 400, 32, 224): Costs(88_048_984, 281_332_826_112, 281_340_052_480),
    ("mvit-b-64x3", 400, 64, 224): Costs(36_612_976, 455_061_768_384, 455_071_402_176),
    ("timesformer-l", 400, 96, 224): Costs(121_633_936, 2_379_856_982_016, 2_379_871_432_704),
}
LIBRARIES = {
    **dict.fromkeys(("s3d", "video-swin-b", "mvit-b-64x3"), "torchvision"),
    **dict.fromkeys(("i3d-two-stream", "vgg16-two-stream"), "cv2"),
    "timesformer-l": "transformers",
}
ROWS = {
    "3D-ResNeXt-101": "resnext3d-101",
    "3D-ResNet-18": "r3d-18",
    "3D-ResNet-50": "r3d-50",
    "3D-ResNet-101": "r3d-101",
    "3D-MobileNetV1": "mobilenet3d-v1",
    "3D-MobileNetV2": "mobilenet3d-v2",
    "3D-ShuffleNetV1": "shufflenet3d-v1",
    "3D-ShuffleNetV2": "shufflenet3d-v2",
    "3D-SqueezeNet": "squeezenet3d",
    "C3D": "c3d",
    "I3D-RGB": "i3d-rgb",
    "Separable-3D (S3D)": "s3d",
    "R(2+1)D": "r2plus1d-34",
    "DarkLight-R(2+1)D": "darklight-r2plus1d-34",
    "DarkLight-ResNeXt101": "darklight-resnext3d-101",
    "TSN": "tsn-r50",
    "TSM": "tsm-r50",
    "TIN": "tin-r50",
    "SlowFast16+64": "slowfast-r50",
    "TimeSformer-L": "timesformer-l",
    "Video-Swin-B": "video-swin-b",
    "MViT-B 64x3": "mvit-b-64x3",
}
"""Classifiers by their name in the table."""


@functools.cache
def classifier(name, classes=11, frames=64, size=112):
    if (library := LIBRARIES.get(name)) and importlib.util.find_spec(library) is None:
        pytest.skip(f"{name} needs {library}, which is not installed")
    with torch.device("meta"):  # no time spent on initial weights
        return create_classifier(name, classes, frames, size).eval()


@functools.cache
def classifier_costs(name, classes, frames, size):
    return count(classifier(name, classes, frames, size), (1, 3, frames, size, size))


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


@pytest.mark.parametrize(("key", "costs"), COSTS.items(), ids=lambda value: "-".join(map(str, value)))
def test_classifiers_cost_what_tables_3_to_5_say(key, costs):
    assert classifier_costs(*key) == costs


def test_two_streams_have_the_parameters_of_table_3_and_of_the_stream_that_it_forgot():
    vgg, i3d = classifier("vgg16-two-stream", 1000, 16, 224), classifier("i3d-two-stream", 11, 16, 224)
    assert sum(parameter.numel() for parameter in vgg.rgb.parameters()) == 138_357_544
    assert sum(parameter.numel() for parameter in i3d.parameters()) == 24_575_126


def test_joint_model_costs_what_table_3_says():
    assert joint_costs(SHAPES["64x112x112"]) == Costs(47_567_523, 42_824_390_656, 43_236_737_024)
    assert joint_costs(SHAPES["16x224x224"]) == Costs(47_567_523, 42_595_833_856, 43_007_780_864)


def as_counted_for_the_table(name, costs, frames):
    """Our costs of a classifier as those were counted that the table holds."""
    match name:
        case "darklight-r2plus1d-34" | "darklight-resnext3d-101":
            # Zero-DCE is counted, what thop passes over is not: class token, positions, norms, attention's products.
            channels, tokens = (512, 2 * frames // 8 + 1) if "r2plus1d" in name else (2048, 2 * frames // 16 + 1)
            attention = 2 * tokens**2 * channels
            pooling = 2 * (channels * (8 * 7 * 7 + 1) if "r2plus1d" in name else channels)
            params = costs.params + ZERO_DCE_64.params - (1 + tokens + 4) * channels
            macs = costs.macs + ZERO_DCE_64.macs - attention
            return Costs(params, macs, costs.paper_ops + ZERO_DCE_64.paper_ops - attention + pooling)
        case "slowfast-r50":  # PyTorchVideo's model pools its 48 logits once more, two operations each
            return costs._replace(paper_ops=costs.paper_ops + 2 * 48)
        case "video-swin-b" | "mvit-b-64x3" | "timesformer-l":  # only multiply-accumulates are counted
            return costs._replace(paper_ops=costs.macs)
        case _:
            return costs


def test_every_row_of_the_table_of_costs(reference):
    with (reference / "reference" / "paper_costs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    checked, quoted = [], {"TIN"}  # operations quoted from elsewhere
    for row in rows:
        frames, size, _ = map(int, re.findall(r"\d+", row["input"])[-3:])
        shape = (1, 3, frames, size, size)
        if row["model"] in ROWS:
            name = ROWS[row["model"]]
            (key,) = [key for key in COSTS if (key[0], *key[2:]) == (name, frames, size)]
            costs = as_counted_for_the_table(name, COSTS[key], frames)
        elif row["model"] == "DTCM":
            costs = joint_costs(shape)
        elif row["model"] == "Zero-DCE":
            costs = count(create_enhancer("zero-dce"), shape, k=1)
        elif match := re.fullmatch(r"DTCM enhancer k=(\d+)", row["model"]):
            costs = count(create_enhancer("light"), shape, k=int(match[1]))
        else:
            continue
        columns = ("our_params", "our_pure_macs", "our_paper_convention_ops")[: 1 if row["model"] in quoted else 3]
        for ours, column in zip(costs, columns, strict=False):
            assert not row[column] or ours == int(row[column]), (row["model"], column)
        checked.append(row["model"])
    assert len(checked) == 37
    # The rest: tested above, or without a figure to compare with.
    assert {row["model"] for row in rows} - set(checked) == {
        "DTCM enhancer, BatchNorm not counted",
        "VGG two-stream",
        "I3D two-stream",
        "Pseudo-3D-199",
        "TSN two-stream",
        "Delta Sampling R-BERT",
        "ACAN",
        "MRAN",
        "GT-I3D",
    }


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


def test_the_first_layer_of_a_network_needs_no_gradient_of_its_input():
    first, second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)
    first_macs, second_macs = 36 * 8 * 3 * 9, 36 * 4 * 8
    assert training_macs(nn.Sequential(first, second), (1, 3, 6, 6)) == 2 * first_macs + 3 * second_macs
    assert training_macs(nn.Sequential(nn.Flatten(), nn.Linear(108, 5)), (1, 3, 6, 6)) == 2 * 108 * 5


def test_what_joint_training_adds_to_the_classifiers_own():
    """The enhancer, and the gradient of the clip, for which the 7x7x7 stem goes over it once more."""
    clip = SHAPES["64x112x112"]
    joint = DTCM(create_enhancer("light"), create_classifier("resnext3d-101", 11, 64, 112), k=4)
    own, whole = COSTS["resnext3d-101", 11, 64, 112].macs, count(joint, clip).macs
    stem, first_of_enhancer = 64 * 56 * 56 * 64 * 3 * 7**3, 16 * 112 * 112 * 32 * 3 * 3**2
    assert training_macs(joint.classifier, clip) == 3 * own - stem
    assert training_macs(joint, clip) == 3 * whole - first_of_enhancer
    assert training_macs(joint, clip) / training_macs(joint.classifier, clip) == pytest.approx(1.263, abs=5e-4)
    assert whole / own == pytest.approx(1.119, abs=5e-4)
    paper_ops = [count(part, clip).paper_ops for part in (joint, joint.classifier)]
    assert paper_ops[0] / paper_ops[1] == pytest.approx((38.4664 + 4.7703) / 38.4664, abs=1e-4)  # Tables III and IX
