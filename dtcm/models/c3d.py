"""C3D (Tran et al., ICCV 2015) with batch normalisation after each convolution.

Among the paper's comparisons (Table III), in the form of https://github.com/okankop/Efficient-3DCNNs, whose
parameter names it has. The paper's 181.12 M parameters are those of 600 classes.
"""

from torch import Tensor, nn

from dtcm.models.layers import check_clip, kaiming, to_255_less_mean


def c3d(num_classes: int, frames: int, size: int) -> nn.Module:
    """C3D for clips of just this T and size, at least 9 and 16: 178.7 M parameters for 16x224 and 11 classes."""
    check_clip("C3D", frames, size, min_frames=9, min_size=16)
    return C3D(num_classes, frames, size)


class C3D(nn.Module):
    """Five groups of 3x3x3 convolutions, each ending in a max-pooling, and three linear layers."""

    def __init__(self, num_classes: int, frames: int, size: int) -> None:
        super().__init__()
        self.normalize = to_255_less_mean()
        self.group1 = nn.Sequential(*_convs(3, 64), nn.MaxPool3d(2, stride=(1, 2, 2)))
        self.group2 = nn.Sequential(*_convs(64, 128), nn.MaxPool3d(2))
        self.group3 = nn.Sequential(*_convs(128, 256), *_convs(256, 256), nn.MaxPool3d(2))
        self.group4 = nn.Sequential(*_convs(256, 512), *_convs(512, 512), nn.MaxPool3d(2))
        last_pool = nn.MaxPool3d((1, 2, 2), stride=2, padding=(0, 1, 1))
        self.group5 = nn.Sequential(*_convs(512, 512), *_convs(512, 512), last_pool)
        # T loses one frame in the first pooling, is halved three times, and halved again rounding up.
        last_frames = ((frames - 1) // 8 + 1) // 2
        last_size = size // 16 // 2 + 1
        self.fc1 = nn.Sequential(*_dense(512 * last_frames * last_size**2))
        self.fc2 = nn.Sequential(*_dense(4096))
        self.fc = nn.Sequential(nn.Linear(4096, num_classes))
        kaiming(self)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Logits [B, num_classes] of RGB clips in [0, 1]."""
        x = self.group2(self.group1(self.normalize(clip_BCTHW)))
        x = self.group5(self.group4(self.group3(x)))
        return self.fc(self.fc2(self.fc1(x.flatten(1))))


def _convs(channels: int, out_channels: int) -> list[nn.Module]:
    return [nn.Conv3d(channels, out_channels, 3, padding=1), nn.BatchNorm3d(out_channels), nn.ReLU(inplace=True)]


def _dense(channels: int) -> list[nn.Module]:
    return [nn.Linear(channels, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5)]
