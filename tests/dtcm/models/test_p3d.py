"""P3D-199: the order of its blocks, what each computes, and clips of more than 16 frames."""

import pytest
import torch

from dtcm.models import create_classifier
from dtcm.models.p3d import P3DBlock


def classifier(name, *args):
    return create_classifier(name, *args)


def test_blocks_alternate_a_b_c_over_all_three_stages():
    with torch.device("meta"):
        model = classifier("p3d-199", 5, 16, 64)
    kinds = [block.kind for stage in (model.layer1, model.layer2, model.layer3) for block in stage]
    assert "".join(kinds) == ("ABC" * 16)[:47]
    assert len(model.layer4) == 3


@pytest.mark.parametrize("kind", ["A", "B", "C"])
def test_a_block_combines_space_and_time_as_its_kind_says(kind):
    torch.manual_seed(0)
    block, x = P3DBlock(8, 2, stride=1, kind=kind).eval(), torch.randn(1, 8, 3, 4, 4)
    with torch.no_grad():
        y = block.bn1(block.conv1(x)).relu()
        space = block.bn2(block.conv2(y)).relu()
        middle = {
            "A": block.bn3(block.conv3(space)).relu(),
            "B": space + block.bn3(block.conv3(y)).relu(),
            "C": space + block.bn3(block.conv3(space)).relu(),
        }[kind]
        torch.testing.assert_close(block(x), (block.bn4(block.conv4(middle)) + x).relu())


def test_of_16_frames_one_feature_map_is_left_and_of_more_the_mean():
    with torch.device("meta"):
        model = classifier("p3d-199", 5, 16, 64)
        sizes = []
        model.layer4.register_forward_hook(lambda _, args, output: sizes.append((args[0].shape, output.shape)))
        for frames in (16, 31, 32):
            assert model(torch.empty(2, 3, frames, 64, 64)).shape == (2, 5)
    assert sizes[0] == ((2, 1024, 4, 4), (2, 2048, 2, 2))
    assert sizes[1][0] == (2, 1024, 4, 4)
    assert sizes[2][0] == (4, 1024, 4, 4)
