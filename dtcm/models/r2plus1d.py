"""R(2+1)D-34 (Tran et al., CVPR 2018) as pre-trained on IG-65M (https://github.com/moabitcoin/ig65m-pytorch).

Among the paper's comparisons (Tables III, V) and the backbone of DarkLight and R-BERT. Every 3x3x3 convolution is
one in space, then one in time. Parameter names are torchvision's VideoResNet's, which the public checkpoints use.
"""

from torch import Tensor, nn

from dtcm.models.layers import KINETICS, Normalize, kaiming
from dtcm.models.stem import Stem

DEPTHS = (3, 4, 6, 3)
WIDTHS = (64, 128, 256, 512)


def r2plus1d_34(num_classes: int, frames: int, size: int) -> nn.Module:
    """R(2+1)D-34, 63.5 M parameters for 11 classes. Takes clips of any T and size."""
    return R2Plus1D(num_classes)


class R2Plus1D(nn.Module):
    """Stem, four stages of residual blocks, global average pooling, one linear layer.

    T is divided by 8 and H, W by 16, rounding up.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.normalize = Normalize(*KINETICS)
        self.stem = nn.Sequential(
            Stem(45, frames=1),
            _norm(45),
            nn.ReLU(inplace=True),
            nn.Conv3d(45, 64, (3, 1, 1), padding=(1, 0, 0), bias=False),
            _norm(64),
            nn.ReLU(inplace=True),
        )
        channels = (64, *WIDTHS)
        stages = [_stage(channels[i], channels[i + 1], DEPTHS[i], stride=1 if i == 0 else 2) for i in range(4)]
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(WIDTHS[-1], num_classes)
        kaiming(self)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Logits [B, num_classes] of RGB clips in [0, 1]."""
        x = self.layer2(self.layer1(self.stem(self.normalize(clip_BCTHW))))
        return self.fc(self.avgpool(self.layer4(self.layer3(x))).flatten(1))


class BasicBlock(nn.Module):
    """Two (2+1)D convolutions and a shortcut.

    Each has as many channels between its two parts as give it the parameters of a 3x3x3 convolution of its own
    channels. (torchvision takes the first one's for both, which the IG-65M checkpoints do not fit.)
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(_conv2plus1d(channels, width, stride), _norm(width), nn.ReLU(inplace=True))
        self.conv2 = nn.Sequential(_conv2plus1d(width, width, stride=1), _norm(width))
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Identity()
        if stride > 1 or channels != width:
            self.downsample = nn.Sequential(nn.Conv3d(channels, width, 1, stride, bias=False), _norm(width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, T/stride, H/stride, W/stride], rounded up."""
        return self.relu(self.conv2(self.conv1(x)) + self.downsample(x))


def _stage(channels: int, width: int, depth: int, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(channels, width, stride), *(BasicBlock(width, width, 1) for _ in range(depth - 1)))


def _conv2plus1d(channels: int, width: int, stride: int) -> nn.Sequential:
    between = channels * width * 27 // (channels * 9 + 3 * width)
    return nn.Sequential(
        nn.Conv3d(channels, between, (1, 3, 3), stride=(1, stride, stride), padding=(0, 1, 1), bias=False),
        _norm(between),
        nn.ReLU(inplace=True),
        nn.Conv3d(between, width, (3, 1, 1), stride=(stride, 1, 1), padding=(1, 0, 0), bias=False),
    )


def _norm(channels: int) -> nn.BatchNorm3d:
    return nn.BatchNorm3d(channels, eps=1e-3)  # Caffe2's eps, in which IG-65M was trained
