"""LLNet, a stacked sparse denoising autoencoder on patches (Lore, Akintayo and Sarkar, Pattern Recognition 2017).

The paper's network is for grey patches of 17 x 17; for colour its authors published
https://github.com/kglore/llnet_color, which is followed here: layers of 2000, 1900, 1800, 1900 and 2000
sigmoids between 867 = 3 x 17 x 17 inputs and outputs, patches every 3 px, overlapping results averaged.
Decided otherwise: where the patches do not end at the border the frame's last row and column are repeated (there
the frame is resized). The published weights are a pickle of Theano arrays, which could run code and is not
read; docs/enhancement.md says how its owner turns it into safetensors of these names.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import fold, pad, unfold

from dtcm.enhancement.frames import Learned

PATCH_PX, STRIDE_PX = 17, 3
HIDDEN = (2000, 1900, 1800, 1900, 2000)
CHUNK_PATCHES = 8192


class LLNet(Learned):
    """17,918,467 parameters; names are those of the authors' code, weights transposed as torch has them."""

    def __init__(self, hidden: tuple[int, ...] = HIDDEN) -> None:
        super().__init__()
        values = 3 * PATCH_PX**2
        widths = (values, *hidden)
        self.sigmoid_layers = nn.ModuleList([nn.Linear(*pair) for pair in pairwise(widths)])
        self.logLayer = nn.Linear(hidden[-1], values)

    def brighten(self, frames_NCHW: Tensor) -> Tensor:
        """The mean of all patches that cover a pixel, [N, 3, H, W] in [0, 1]."""
        _, _, height, width = frames_NCHW.shape
        padded = pad(frames_NCHW, (0, _missing(width), 0, _missing(height)), mode="replicate")
        patches_NLV = unfold(padded, PATCH_PX, stride=STRIDE_PX).mT
        rows = torch.cat([self.patches(rows) for rows in patches_NLV.flatten(0, 1).split(CHUNK_PATCHES)])
        summed = _folded(rows.view_as(patches_NLV), padded)
        return (summed / _folded(torch.ones_like(patches_NLV), padded))[:, :, :height, :width]

    def patches(self, values: Tensor) -> Tensor:
        """Brightened patches, [P, 867]: all of red, then green, then blue, each row by row."""
        for layer in self.sigmoid_layers:
            values = layer(values).sigmoid()
        return self.logLayer(values).sigmoid()


def _missing(size: int) -> int:
    """Pixels behind the border until patches fill the frame."""
    return PATCH_PX - size if size < PATCH_PX else (PATCH_PX - size) % STRIDE_PX


def _folded(patches_NLV: Tensor, padded_NCHW: Tensor) -> Tensor:
    return fold(patches_NLV.mT, padded_NCHW.shape[2:], PATCH_PX, stride=STRIDE_PX)
