"""TSN, TSM and TIN: which frames they see, how frames mix, and that ResNet-50 is torchvision's."""

import importlib.util

import pytest
import torch
from torch import nn

from dtcm.models import create_classifier, load_pretrained
from dtcm.models.layers import IMAGENET
from dtcm.models.torchvision_import import import_torchvision
from dtcm.models.tsn import MiddleFrames, TemporalInterlace, delay, shift


def classifier(name, *args):
    return create_classifier(name, *args)


@pytest.mark.parametrize(
    ("frames", "chosen"),
    [
        (8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (16, [1, 3, 5, 7, 9, 11, 13, 15]),
        (64, [4, 12, 20, 28, 36, 44, 52, 60]),
        (11, [0, 2, 3, 4, 6, 7, 8, 10]),
    ],
)
def test_segments_are_the_middle_frames_of_equal_parts(frames, chosen):
    clip = torch.arange(float(frames)).view(1, 1, frames, 1, 1).expand(1, 3, frames, 1, 1)
    seen = MiddleFrames(8)(clip)
    (mean, *_), (std, *_) = IMAGENET
    assert (seen[0, :, 0, 0, 0] * std + mean).round().int().tolist() == chosen


def test_a_shift_brings_an_eighth_from_the_next_frame_and_an_eighth_from_the_last():
    x = torch.arange(1.0, 25).view(1, 3, 8, 1, 1)  # three frames of channels 1-8, 9-16, 17-24
    expected = [
        [9, 0, 3, 4, 5, 6, 7, 8],
        [17, 2, 11, 12, 13, 14, 15, 16],
        [0, 10, 19, 20, 21, 22, 23, 24],
    ]
    assert shift(x)[0, :, :, 0, 0].tolist() == expected


def test_a_delay_interpolates_between_frames_with_zeros_beyond_the_ends():
    x = torch.tensor([1.0, 2.0, 4.0, 8.0]).view(1, 4, 1, 1, 1, 1).expand(1, 4, 4, 1, 1, 1)
    moved = delay(x, torch.tensor([[1.0, -1.0, 0.25, -1.5]]))[0, :, :, 0, 0, 0]
    assert moved[:, 0].tolist() == [0, 1, 2, 4]
    assert moved[:, 1].tolist() == [2, 4, 8, 0]
    assert moved[:, 2].tolist() == [0.75, 1.75, 3.5, 7]
    assert moved[:, 3].tolist() == [3, 6, 4, 0]


def test_interlacing_starts_by_moving_half_a_frame_both_ways_and_leaves_three_quarters_alone():
    torch.manual_seed(0)
    module, x = TemporalInterlace(channels=8), torch.randn(2, 8, 32, 3, 3)
    for name, parameter in module.named_parameters():
        if name.endswith("weight"):
            nn.init.zeros_(parameter)
    with torch.no_grad():
        y = module(x)
    half = 4 * (torch.sigmoid(torch.tensor(0.5108)).item() - 0.5)
    assert half == pytest.approx(0.5, abs=1e-4)
    padded = torch.cat([torch.zeros(2, 1, 32, 3, 3), x, torch.zeros(2, 1, 32, 3, 3)], dim=1)
    torch.testing.assert_close(y[:, :, :4], ((1 - half) * x + half * padded[:, :-2])[:, :, :4])  # later
    torch.testing.assert_close(y[:, :, 4:8], ((1 - half) * x + half * padded[:, 2:])[:, :, 4:8])  # earlier
    assert torch.equal(y[:, :, 8:], x[:, :, 8:])


def test_interlacing_weighs_each_frame_of_alternate_groups():
    module, x = TemporalInterlace(channels=8), torch.ones(1, 8, 8, 1, 1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.get_parameter("weight_net.conv.bias").copy_(torch.tensor([100.0, -100.0]))
        assert module(x)[0, 0, :, 0, 0].tolist() == [2, 2, 0, 0, 2, 2, 0, 0]


def test_tsm_with_a_single_moving_frame_differs_from_tsn_which_forgets_the_order():
    torch.manual_seed(0)
    tsn, tsm = classifier("tsn-r50", 3, 8, 32).eval(), classifier("tsm-r50", 3, 8, 32).eval()
    clip = torch.rand(1, 3, 8, 32, 32)
    backwards = clip.flip(2)
    with torch.no_grad():
        torch.testing.assert_close(tsn(clip), tsn(backwards), rtol=1e-3, atol=1e-4)
        assert (tsm(clip) - tsm(backwards)).abs().max() > 0.01


def test_torchvisions_resnet_50_loads_and_computes_the_same_features(tmp_path):
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    theirs = import_torchvision().models.resnet50(num_classes=1000).eval()
    torch.manual_seed(0)
    for layer in theirs.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.get_buffer("running_mean"))
            nn.init.uniform_(layer.weight, 0.2, 0.5)
    torch.save(theirs.state_dict(), tmp_path / "resnet50.pth")
    ours = classifier("tsn-r50", 5, 8, 32).eval()
    report = load_pretrained(ours, tmp_path / "resnet50.pth")
    assert report.missing == report.unexpected == ()
    assert report.replaced == ("cls_head.fc_cls.weight", "cls_head.fc_cls.bias")
    frames, features = torch.rand(2, 3, 40, 33), []
    theirs.layer4.register_forward_hook(lambda _, __, output: features.append(output))
    with torch.no_grad():
        theirs(frames)
        torch.testing.assert_close(ours.backbone(frames), features[0], rtol=1e-3, atol=1e-4)
