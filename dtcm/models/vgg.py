"""Two-stream VGG-16 (Simonyan and Zisserman, NIPS 2014): an image network on RGB, and one on stacks of optical flow.

Among the paper's comparisons (Table III). Parameter names within a stream are torchvision's vgg16's, so that its
ImageNet weights load into the RGB stream. The paper's 138 M parameters are those of one stream of 1000 classes.
"""

from torch import Tensor, nn

from dtcm.models.flow import FlowStacks, TwoStream
from dtcm.models.layers import check_clip, kaiming
from dtcm.models.tsn import MiddleFrames

SEGMENTS = 8
"""Frames, and stacks of flows, that each stream sees of a clip."""
FLOW_LENGTH = 10
"""Successive flows in a stack."""
WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the convolutions before each of the five poolings."""


def vgg16_two_stream(num_classes: int, frames: int, size: int) -> nn.Module:
    """Two VGG-16, 268.6 M parameters for 11 classes. Takes clips of 10 frames or more and 32 pixels or more."""
    check_clip("Two-stream VGG-16", frames, size, min_frames=FLOW_LENGTH, min_size=32)
    rgb = VGG16(num_classes, MiddleFrames(SEGMENTS), channels=3)
    return TwoStream(rgb, VGG16(num_classes, FlowStacks(SEGMENTS, FLOW_LENGTH), channels=2 * FLOW_LENGTH))


class VGG16(nn.Module):
    """VGG-16 on what `prepare` makes of a clip, [B, segments, channels, H, W]; the segments' logits are averaged."""

    def __init__(self, num_classes: int, prepare: nn.Module, channels: int) -> None:
        super().__init__()
        self.prepare = prepare
        layers: list[nn.Module] = []
        for widths in WIDTHS:
            for width in widths:
                layers += [nn.Conv2d(channels, width, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        dense = [*_dense(512 * 7 * 7), *_dense(4096)]
        self.classifier = nn.Sequential(*dense, nn.Linear(4096, num_classes))
        kaiming(self)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Logits [B, num_classes] of RGB clips in [0, 1]."""
        segments_BSCHW = self.prepare(clip_BCTHW)
        features = self.avgpool(self.features(segments_BSCHW.flatten(0, 1))).flatten(1)
        return self.classifier(features).unflatten(0, segments_BSCHW.shape[:2]).mean(dim=1)


def _dense(channels: int) -> list[nn.Module]:
    return [nn.Linear(channels, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5)]
