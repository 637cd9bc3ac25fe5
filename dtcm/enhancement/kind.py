"""KinD, kindling the darkness (Zhang, Zhang and Guo, ACM MM 2019, https://github.com/zhangyhuaee/KinD).

A frame is decomposed into reflectance R and illumination I; one network cleans R, another raises I. Structure,
names (TensorFlow's scopes) and the final fusion are those of the authors' code and checkpoints, which differ
from the paper: the last layers of the decomposition are 1x1 convolutions, and the result is mixed with the
input by I, against over-exposure. PyTorch ports of other names, and with 3x3 in those layers, do not load.
"""

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from dtcm.enhancement.frames import Learned
from dtcm.enhancement.smoothing import gaussian
from dtcm.enhancement.tensorflow import read_checkpoint
from dtcm.errors import BadInput

RATIO = 5.0
"""Times that the illumination is to be raised, the authors' setting."""


class KinD(Learned):
    """Decomposition, restoration and adjustment; 8,016,008 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.DecomNet = Decomposition()
        self.Restoration_net = Restoration()
        self.Illumination_adjust_net = Adjustment()

    def brighten(self, frames_NCHW: Tensor) -> Tensor:
        """I frame + (1 - I) R' I', of the cleaned R' and raised I'; [N, 3, H, W] in [0, 1].

        R' is darkened where R is nearly black, which it would otherwise show in grey.
        """
        reflectance, illumination = self.DecomNet(frames_NCHW)
        restored = self.Restoration_net(reflectance, illumination)
        raised = self.Illumination_adjust_net(illumination, torch.full_like(illumination, RATIO))
        grey = (reflectance * _weights(reflectance)).sum(dim=1, keepdim=True)
        restored = restored * (2 * gaussian(grey, 3, border="nearest")).sqrt().clamp(max=1)
        return illumination * frames_NCHW + (1 - illumination) * restored * raised

    def load_tensorflow(self, folder: Path) -> None:
        """Copy the weights of the authors' checkpoints, in place.

        `folder` holds their files model.ckpt.index and model.ckpt.data-00000-of-00001, in the sub-folders in which
        they are published or elsewhere below. Raises BadInput for files that are missing or of other shapes.
        """
        variables: dict[str, Tensor] = {}
        for index in sorted(folder.rglob("*.index")):
            variables |= read_checkpoint(index.with_suffix(""))
        ours = self.state_dict()
        self.load_state_dict({name: _from_tensorflow(name, value, variables) for name, value in ours.items()})


class Decomposition(nn.Module):
    """Frame -> reflectance [N, 3, H, W] and illumination [N, 1, H, W]."""

    def __init__(self) -> None:
        super().__init__()
        self.g_conv1_1 = nn.Conv2d(3, 32, 3, padding=1)
        self.g_conv2_1 = nn.Conv2d(32, 64, 3, padding=1)
        self.g_conv3_1 = nn.Conv2d(64, 128, 3, padding=1)
        self.g_up_1 = _doubling(128, 64)
        self.g_conv8_1 = nn.Conv2d(128, 64, 3, padding=1)
        self.g_up_2 = _doubling(64, 32)
        self.g_conv9_1 = nn.Conv2d(64, 32, 3, padding=1)
        self.g_conv10 = nn.Conv2d(32, 3, 1)
        self.l_conv1_2 = nn.Conv2d(32, 32, 3, padding=1)
        self.l_conv1_4 = nn.Conv2d(64, 1, 1)
        self.pool = _pool()

    def forward(self, frames_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Both in [0, 1]."""
        x1 = _lrelu(self.g_conv1_1(frames_NCHW))
        x2 = _lrelu(self.g_conv2_1(self.pool(x1)))
        x3 = _lrelu(self.g_conv3_1(self.pool(x2)))
        x8 = _lrelu(self.g_conv8_1(_join(self.g_up_1(x3), x2)))
        x9 = _lrelu(self.g_conv9_1(_join(self.g_up_2(x8), x1)))
        light = torch.cat([_lrelu(self.l_conv1_2(x1)), x9], dim=1)
        return self.g_conv10(x9).sigmoid(), self.l_conv1_4(light).sigmoid()


class Restoration(nn.Module):
    """Reflectance and illumination -> reflectance without noise and false colour: a U-Net of 32 to 512 channels."""

    def __init__(self) -> None:
        super().__init__()
        widths = (4, 32, 64, 128, 256, 512)
        for level, (channels, out_channels) in enumerate(pairwise(widths), start=1):
            self.add_module(f"de_conv{level}_1", nn.Conv2d(channels, out_channels, 3, padding=1))
            self.add_module(f"de_conv{level}_2", nn.Conv2d(out_channels, out_channels, 3, padding=1))
        for level, channels in enumerate((512, 256, 128, 64), start=6):
            self.add_module(f"up_{level}", _doubling(channels, channels // 2))
            self.add_module(f"de_conv{level}_1", nn.Conv2d(channels, channels // 2, 3, padding=1))
            self.add_module(f"de_conv{level}_2", nn.Conv2d(channels // 2, channels // 2, 3, padding=1))
        self.de_conv10 = nn.Conv2d(32, 3, 3, padding=1)
        self.pool = _pool()

    def forward(self, reflectance_NCHW: Tensor, illumination_N1HW: Tensor) -> Tensor:
        """[N, 3, H, W] in [0, 1]."""
        x = self._twice(1, torch.cat([reflectance_NCHW, illumination_N1HW], dim=1))
        skips = []
        for level in range(2, 6):
            skips.append(x)
            x = self._twice(level, self.pool(x))
        for level in range(6, 10):
            x = self._twice(level, _join(self.get_submodule(f"up_{level}")(x), skips.pop()))
        return self.de_conv10(x).sigmoid()

    def _twice(self, level: int, x: Tensor) -> Tensor:
        for index in (1, 2):
            x = _lrelu(self.get_submodule(f"de_conv{level}_{index}")(x))
        return x


class Adjustment(nn.Module):
    """Illumination and the ratio by which to raise it -> raised illumination."""

    def __init__(self) -> None:
        super().__init__()
        self.en_conv_1 = nn.Conv2d(2, 32, 3, padding=1)
        self.en_conv_2 = nn.Conv2d(32, 32, 3, padding=1)
        self.en_conv_3 = nn.Conv2d(32, 32, 3, padding=1)
        self.en_conv_4 = nn.Conv2d(32, 1, 3, padding=1)

    def forward(self, illumination_N1HW: Tensor, ratio_N1HW: Tensor) -> Tensor:
        """[N, 1, H, W] in [0, 1]; the leaky ReLU before the sigmoid is the authors'."""
        x = torch.cat([illumination_N1HW, ratio_N1HW], dim=1)
        for conv in (self.en_conv_1, self.en_conv_2, self.en_conv_3, self.en_conv_4):
            x = _lrelu(conv(x))
        return x.sigmoid()


def _lrelu(x: Tensor) -> Tensor:
    return leaky_relu(x, 0.2)


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(2, ceil_mode=True)  # TensorFlow's SAME: an odd last row is pooled alone


def _doubling(channels: int, out_channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, out_channels, kernel_size=2, stride=2, bias=False)


def _join(doubled_NCHW: Tensor, skip_NCHW: Tensor) -> Tensor:
    """Both, the doubled one without the last row or column that an odd size of the other leaves over."""
    _, _, height, width = skip_NCHW.shape
    return torch.cat([doubled_NCHW[:, :, :height, :width], skip_NCHW], dim=1)


def _weights(like: Tensor) -> Tensor:
    """Of red, green and blue in scikit-image's grey (BT.709), which the authors use."""
    return like.new_tensor([0.2125, 0.7154, 0.0721]).view(3, 1, 1)


def _from_tensorflow(name: str, ours: Tensor, variables: dict[str, Tensor]) -> Tensor:
    """The variable that belongs to our parameter: DecomNet/g_conv1_1/weights to DecomNet.g_conv1_1.weight."""
    theirs = name.replace(".weight", ".weights").replace(".bias", ".biases").replace(".", "/")
    if theirs not in variables:
        raise BadInput(f"The checkpoints hold no {theirs}; download all three of KinD's networks.")
    value = variables[theirs]
    value = value.permute(3, 2, 0, 1) if value.dim() == 4 else value  # from height, width, in, out
    if value.shape != ours.shape:
        raise BadInput(f"{theirs} is {list(value.shape)} where KinD has {list(ours.shape)}; use its own checkpoints.")
    return value
