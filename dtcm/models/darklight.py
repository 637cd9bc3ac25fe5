"""DarkLight (Chen et al., CVPRW 2021): the dark clip and a brightened one through one network, fused by attention.

Among the paper's comparisons (Tables III, V). Parameter names are those of
https://github.com/Ticuby/Darklight-Pytorch. It brightens by gamma, not by Zero-DCE, which the paper's parameters
and operations of DarkLight include.
"""

import torch
from torch import Tensor, nn

from dtcm.models.bert import R2PLUS1D_NAMES, LateBert, action_head, tokens
from dtcm.models.layers import KINETICS, Normalize, to_255_less_mean
from dtcm.models.r2plus1d import R2Plus1D
from dtcm.models.resnet3d import resnext3d_101

GAMMA = 1.8
"""Brightened values are values to the power 1 / GAMMA."""
RESNEXT_NAMES = {r"^conv1\.": "features.0.", r"^bn1\.": "features.1."} | {
    rf"^layer{i}\.": f"features.{i + 3}." for i in range(1, 5)
}
"""Parameter names of 3D-ResNeXt, and of it as the shared backbone."""


def darklight_r2plus1d_34(num_classes: int, frames: int, size: int) -> nn.Module:
    """DarkLight on R(2+1)D-34, 66.7 M parameters for 11 classes. Takes clips of just this T and any size."""
    body = R2Plus1D(num_classes)
    layers = (body.stem, body.layer1, body.layer2, body.layer3, body.layer4)
    model = DarkLight(nn.Sequential(*layers), Normalize(*KINETICS), 512, -(-frames // 8), num_classes)
    model.public_names = R2PLUS1D_NAMES
    return model


def darklight_resnext3d_101(num_classes: int, frames: int, size: int) -> nn.Module:
    """DarkLight on 3D-ResNeXt-101, 97.9 M parameters for 11 classes. Takes clips of just this T and any size."""
    layers = list(resnext3d_101(num_classes, frames, size).children())
    features = [layer for layer in layers if not isinstance(layer, Normalize)][:-2]
    model = DarkLight(nn.Sequential(*features), to_255_less_mean(), 2048, -(-frames // 16), num_classes)
    model.public_names = RESNEXT_NAMES
    return model


class DarkLight(nn.Module):
    """Two streams of shared weights; one transformer encoder over the tokens of both.

    `steps` is how many feature vectors the backbone gives a clip, so the encoder reads twice as many.
    """

    public_names: dict[str, str]

    def __init__(
        self, features: nn.Sequential, normalize: nn.Module, channels: int, steps: int, num_classes: int
    ) -> None:
        super().__init__()
        self.normalize = normalize
        self.features = features
        self.self_attention = LateBert(channels, tokens=2 * steps, seen=1.0)
        self.dp = nn.Dropout(0.8)
        self.fc_action = action_head(channels, num_classes)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Logits [B, num_classes] of RGB clips in [0, 1]."""
        streams = [tokens(self.features(self.normalize(clip))) for clip in (clip_BCTHW, brighten(clip_BCTHW))]
        return self.fc_action(self.dp(self.self_attention(torch.cat(streams, dim=1))))


def brighten(clip: Tensor) -> Tensor:
    """Gamma correction of values in [0, 1]: v to the power 1 / GAMMA.

    Below 1/255, where 8-bit video knows only 0, the curve is the straight line to 0: its slope stays finite, so that
    an enhancer before it can be trained.
    """
    level = 1 / 255
    curve = clip.clamp(min=level) ** (1 / GAMMA)
    return torch.where(clip < level, clip * level ** (1 / GAMMA - 1), curve)
