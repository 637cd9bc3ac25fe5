"""3D-SqueezeNet 1.1 (Köpüklü et al., ICCVW 2019, https://github.com/okankop/Efficient-3DCNNs).

Among the paper's comparisons (Tables III-V). Parameter names are those of the public Kinetics-600 checkpoint.
"""

import torch
from torch import Tensor, nn

from dtcm.models.layers import GlobalAvgPool3d, kaiming, to_255_less_mean


def squeezenet3d(num_classes: int, frames: int, size: int) -> nn.Module:
    """3D-SqueezeNet 1.1, 1.8 M parameters. Takes clips of any T and size."""
    return SqueezeNet3D(num_classes)


class SqueezeNet3D(nn.Module):
    """Stem, eight `Fire` blocks, a pointwise convolution to the classes, then the mean over time and space.

    Pooling divides T by 16 and H, W by 32, rounding up.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.normalize = to_255_less_mean()
        stem = nn.Conv3d(3, 64, kernel_size=3, stride=(1, 2, 2), padding=1)
        layers: list[nn.Module] = [stem, nn.BatchNorm3d(64), nn.ReLU(inplace=True)]
        channels = 64
        for squeezed, expanded in ((16, 64), (32, 128), (48, 192), (64, 256)):
            first = Fire(channels, squeezed, expanded, bypass=False)
            channels = 2 * expanded
            layers += [nn.MaxPool3d(3, stride=2, padding=1), first, Fire(channels, squeezed, expanded, bypass=True)]
        self.features = nn.Sequential(*layers)
        scores = nn.Conv3d(channels, num_classes, kernel_size=1)
        self.classifier = nn.Sequential(nn.Dropout(0.5), scores, nn.ReLU(inplace=True), GlobalAvgPool3d())
        kaiming(self)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Logits [B, num_classes] of RGB clips in [0, 1]; never below 0, as the public model's."""
        return self.classifier(self.features(self.normalize(clip_BCTHW))).flatten(1)


class Fire(nn.Module):
    """Squeeze to few channels, expand by 1x1x1 and 3x3x3 convolutions side by side; a bypass adds the input."""

    def __init__(self, channels: int, squeezed: int, expanded: int, bypass: bool) -> None:
        super().__init__()
        self.squeeze = nn.Conv3d(channels, squeezed, kernel_size=1)
        self.squeeze_bn = nn.BatchNorm3d(squeezed)
        self.expand1x1 = nn.Conv3d(squeezed, expanded, kernel_size=1)
        self.expand1x1_bn = nn.BatchNorm3d(expanded)
        self.expand3x3 = nn.Conv3d(squeezed, expanded, kernel_size=3, padding=1)
        self.expand3x3_bn = nn.BatchNorm3d(expanded)
        self.bypass = bypass

    def forward(self, x: Tensor) -> Tensor:
        """[B, 2 * expanded, T, H, W]."""
        squeezed = torch.relu(self.squeeze_bn(self.squeeze(x)))
        branches = [self.expand1x1_bn(self.expand1x1(squeezed)), self.expand3x3_bn(self.expand3x3(squeezed))]
        y = torch.cat(branches, dim=1)
        return torch.relu(y + x) if self.bypass else torch.relu(y)
