"""Optical flow, computed from the clip that a classifier sees, and two-stream models (Table III: VGG, TSN, I3D).

The flow is OpenCV's dense inverse search (Kroeger et al., ECCV 2016). Nothing of it can be differentiated: behind an
enhancer, a flow stream learns from what was brightened, but only an RGB stream tells the enhancer how.
"""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from dtcm.errors import BadInput

BOUND_PX = 20
"""Displacements are cut at this many pixels a frame and divided by it: I3D's and TSN's convention."""
MIN_SIZE = 16
"""Pixels of a side below which OpenCV finds no flow."""
LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G, B (BT.601)."""


@torch.library.custom_op("dtcm::optical_flow", mutates_args=())
def optical_flow(clip: Tensor) -> Tensor:
    """Motion from each frame to the next of clips [B, 3, T, H, W] in [0, 1]: x and y, [B, 2, T - 1, H, W] in [-1, 1].

    Computed on the CPU, without gradient.
    """
    cv2 = _opencv()
    algorithm = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    weights = torch.tensor(LUMA, device=clip.device).view(3, 1, 1, 1)
    luma = (255 * (clip.detach().float() * weights).sum(dim=1).clamp(0, 1)).round().byte().cpu().numpy()
    flows = [[algorithm.calc(first, second, None) for first, second in pairwise(f)] for f in luma]
    motion_BTHWC = torch.from_numpy(np.asarray(flows, dtype=np.float32)).to(clip.device)
    return (motion_BTHWC.movedim(4, 1) / BOUND_PX).clamp(-1, 1).to(clip.dtype).contiguous()


@optical_flow.register_fake
def _(clip: Tensor) -> Tensor:
    batch, _, frames, height, width = clip.shape
    return clip.new_empty(batch, 2, frames - 1, height, width)


class Flow(nn.Module):
    """`optical_flow` as the first layer of a flow stream; the last frame's flow is repeated, so T stays.

    Raises BadInput where OpenCV is missing.
    """

    def __init__(self) -> None:
        super().__init__()
        _opencv()

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """[B, 2, T, H, W] in [-1, 1]."""
        flow = optical_flow(clip_BCTHW.detach())
        return torch.cat([flow, flow[:, :, -1:]], dim=2)


class FlowStacks(nn.Module):
    """`length` successive flows around the middle of each of `parts` equal parts of a clip."""

    def __init__(self, parts: int, length: int) -> None:
        super().__init__()
        self.flow = Flow()
        self.parts, self.length = parts, length

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """[B, parts, 2 * length, H, W]; channels are x and y of the first flow, x and y of the second, and so on."""
        frames, length = clip_BCTHW.shape[2], self.length
        flow_BT2HW = self.flow(clip_BCTHW).transpose(1, 2)
        middles = [(2 * part + 1) * frames // (2 * self.parts) for part in range(self.parts)]
        starts = [min(max(middle - length // 2, 0), frames - length) for middle in middles]
        return torch.stack([flow_BT2HW[:, start : start + length].flatten(1, 2) for start in starts], dim=1)


class TwoStream(nn.Module):
    """The mean of the logits of an RGB stream and a flow stream, which share nothing."""

    def __init__(self, rgb: nn.Module, flow: nn.Module) -> None:
        super().__init__()
        self.rgb = rgb
        self.flow = flow

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Logits [B, num_classes] of RGB clips in [0, 1]."""
        return (self.rgb(clip_BCTHW) + self.flow(clip_BCTHW)) / 2


def _opencv():  # noqa: ANN202  a module that may be missing
    try:
        import cv2
    except ImportError as error:
        raise BadInput('A flow stream needs OpenCV: pip install -e ".[flow]".') from error
    return cv2
