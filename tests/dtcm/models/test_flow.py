"""Optical flow of clips whose motion is known, and the streams that read it."""

import importlib.util
import sys

import pytest
import torch

from dtcm.errors import BadInput
from dtcm.models import create_classifier
from dtcm.models.flow import Flow, FlowStacks, TwoStream, optical_flow

needs_opencv = pytest.mark.skipif(importlib.util.find_spec("cv2") is None, reason="OpenCV is not installed")


def moving_texture(dx, dy, frames=4, size=48):
    """A smooth random texture that moves dx to the right and dy downwards with each frame."""
    torch.manual_seed(0)
    noise = torch.rand(1, 1, size + 60, size + 60)
    texture = torch.nn.functional.avg_pool2d(noise, 5, stride=1)[0, 0]
    texture = (texture - texture.min()) / (texture.max() - texture.min())
    views = [texture[28 - t * dy :, 28 - t * dx :][:size, :size] for t in range(frames)]
    return torch.stack(views).expand(1, 3, frames, size, size)


@needs_opencv
@pytest.mark.parametrize(("dx", "dy"), [(2, 0), (0, 3), (-1, 2)])
def test_flow_is_the_motion_in_pixels_a_frame_over_20(dx, dy):
    found = optical_flow(moving_texture(dx, dy))
    assert found.shape == (1, 2, 3, 48, 48)
    middle = 20 * found[0, :, :, 12:-12, 12:-12]
    assert middle[0].median().item() == pytest.approx(dx, abs=0.1)
    assert middle[1].median().item() == pytest.approx(dy, abs=0.1)


@needs_opencv
def test_flow_lies_within_one_and_the_last_is_repeated_and_nothing_is_differentiated():
    torch.manual_seed(0)
    clip = torch.rand(2, 3, 5, 16, 24, requires_grad=True)
    motion = Flow()(clip)
    assert motion.shape == (2, 2, 5, 16, 24)
    assert motion.abs().max() <= 1
    assert torch.equal(motion[:, :, 4], motion[:, :, 3])
    assert not motion.requires_grad


def test_the_shape_of_a_flow_is_known_without_computing_it():
    assert optical_flow(torch.empty(2, 3, 8, 20, 30, device="meta")).shape == (2, 2, 7, 20, 30)


@needs_opencv
@pytest.mark.parametrize(
    ("frames", "starts"),
    [(16, [0, 1, 3, 5, 7, 9, 11, 11]), (64, [2, 10, 18, 26, 34, 42, 50, 58]), (8, [0, 0, 0, 1, 2, 3, 3, 3])],
)
def test_stacks_are_successive_flows_around_the_middle_of_each_part(frames, starts):
    numbered = torch.arange(2.0 * frames).view(1, frames, 2, 1, 1).transpose(1, 2)  # x of frame t is 2t, y is 2t + 1
    stacks = FlowStacks(parts=8, length=5)
    setattr(stacks.flow, "forward", lambda clip: numbered)  # noqa: B010
    stacked = stacks(torch.empty(1, 3, frames, 1, 1))
    assert stacked.shape == (1, 8, 10, 1, 1)
    assert stacked[0, :, :, 0, 0].tolist() == [[float(2 * start + i) for i in range(10)] for start in starts]


@needs_opencv
def test_two_streams_average_and_the_gradient_reaches_the_clip_through_rgb():
    torch.manual_seed(0)
    model = create_classifier("i3d-two-stream", 3, 4, 16).eval()
    clip = torch.rand(1, 3, 4, 16, 16, requires_grad=True)
    assert isinstance(model, TwoStream)
    logits = model(clip)
    with torch.no_grad():
        torch.testing.assert_close(logits, (model.rgb(clip) + model.flow(clip)) / 2)
    logits.sum().backward()
    again = clip.detach().requires_grad_()
    (model.rgb(again).sum() / 2).backward()
    torch.testing.assert_close(clip.grad, again.grad)


@pytest.mark.parametrize("name", ["i3d-flow", "i3d-two-stream", "tsn-r50-two-stream", "vgg16-two-stream"])
def test_without_opencv_a_classifier_is_not_created_but_says_what_to_install(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with torch.device("meta"), pytest.raises(BadInput, match=r'needs OpenCV: pip install -e "\.\[flow\]"'):
        create_classifier(name, 3, 16, 64)
