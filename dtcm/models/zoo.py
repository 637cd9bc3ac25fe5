"""Classifiers of kept libraries, torchvision and transformers.

An extra, `pip install -e ".[zoo]"`; nothing else needs it. S3D, Video-Swin-B, MViT-B and TimeSformer are among the
paper's comparisons (Tables III, V); VideoMAE and V-JEPA 2 are foundation models, frozen behind a trained head.
The libraries' own files load as they are; parameter names are theirs behind "body.".
"""

from types import ModuleType
from typing import ClassVar

from torch import Tensor, nn

from dtcm.errors import BadInput
from dtcm.models.layers import IMAGENET, KINETICS, Normalize, check_clip, pool_pairs
from dtcm.models.torchvision_import import import_torchvision

MVIT = ((0.45,) * 3, (0.225,) * 3)
"""Mean and standard deviation of RGB in [0, 1]: torchvision's MViT, TimeSformer."""
MVIT_STAGES = (0, 1, 1, *(2,) * 11, 3, 3)
"""Stage of each of MViT-B's 16 blocks; channels and heads double, and space is halved, from one to the next."""


def s3d(num_classes: int, frames: int, size: int) -> nn.Module:
    """S3D (Xie et al., ECCV 2018), 7.9 M parameters. Takes clips of at least 5 frames and 17 pixels."""
    check_clip("S3D", frames, size, min_frames=5, min_size=17)
    body = _torchvision_video().s3d(num_classes=num_classes)
    body.avgpool = PairPool()
    return TorchvisionClassifier(body, Normalize(*KINETICS))


def video_swin_b(num_classes: int, frames: int, size: int) -> nn.Module:
    """Video-Swin-B (Liu et al., CVPR 2022), 88.0 M parameters for 400 classes. Takes clips of any T and size."""
    return TorchvisionClassifier(_torchvision_video().swin3d_b(num_classes=num_classes), Normalize(*IMAGENET))


def mvit_b_64x3(num_classes: int, frames: int, size: int) -> nn.Module:
    """MViT-B 64x3 (Fan et al., ICCV 2021), 36.6 M parameters for 400 classes of 64x224.

    Takes clips of just this even T and of just this size, a multiple of 4. Positions are learnt for both, so that
    torchvision's weights of 16 frames fit clips of 16 frames only.
    """
    _check_multiples("MViT-B", frames, size, of_frames=2, of_size=4)
    video = _torchvision_video()
    body = video.MViT(
        spatial_size=(size, size),
        temporal_size=frames,
        block_setting=_mvit_blocks(video),
        residual_pool=False,
        residual_with_cls_embed=False,
        rel_pos_embed=False,
        proj_after_attn=False,
        stochastic_depth_prob=0.2,
        num_classes=num_classes,
    )
    return TorchvisionClassifier(body, Normalize(*MVIT))


def timesformer_l(num_classes: int, frames: int, size: int) -> nn.Module:
    """TimeSformer with divided attention (Bertasius et al., ICML 2021), 121.6 M parameters; L is that of 96 frames.

    Takes clips of just this T and of just this size, a multiple of 16.
    """
    _check_multiples("TimeSformer", frames, size, of_frames=1, of_size=16)
    library = _transformers()
    config = library.TimesformerConfig(image_size=size, num_frames=frames, num_labels=num_classes)
    return TransformersClassifier(library.TimesformerForVideoClassification(config), Normalize(*MVIT))


def videomae_b(num_classes: int, frames: int, size: int) -> nn.Module:
    """A linear probe of VideoMAE-B (Tong et al., NeurIPS 2022): 86.2 M frozen parameters, few trained ones.

    Takes clips of just this even T and of just this size, a multiple of 16; made for 16x224.
    """
    _check_multiples("VideoMAE", frames, size, of_frames=2, of_size=16)
    library = _transformers()
    config = library.VideoMAEConfig(image_size=size, num_frames=frames, num_labels=num_classes)
    return Probe(library.VideoMAEForVideoClassification(config), Normalize(*IMAGENET))


def vjepa2_l(num_classes: int, frames: int, size: int) -> nn.Module:
    """An attentive probe of V-JEPA 2 ViT-L (Assran et al., 2025): the encoder is frozen, pooler and head are trained.

    Takes clips of just this even T and of just this size, a multiple of 16; made for 16x256 and 64x256.
    """
    _check_multiples("V-JEPA 2", frames, size, of_frames=2, of_size=16)
    library = _transformers()
    config = library.VJEPA2Config(crop_size=size, frames_per_clip=frames, num_labels=num_classes)
    return Probe(library.VJEPA2ForVideoClassification(config), Normalize(*IMAGENET))


class TorchvisionClassifier(nn.Module):
    """A video model of torchvision behind its normalisation."""

    public_names: ClassVar[dict[str, str]] = {r"^": "body."}

    def __init__(self, body: nn.Module, normalize: nn.Module) -> None:
        super().__init__()
        self.normalize = normalize
        self.body = body

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Logits [B, num_classes] of RGB clips in [0, 1]."""
        return self.body(self.normalize(clip_BCTHW))


class TransformersClassifier(TorchvisionClassifier):
    """A video model of transformers, which takes [B, T, C, H, W], behind its normalisation."""

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Logits [B, num_classes] of RGB clips in [0, 1]."""
        return self.body(self.normalize(clip_BCTHW).transpose(1, 2)).logits


class Probe(TransformersClassifier):
    """A video model of transformers whose encoder is frozen, and always in evaluation mode.

    Gradients pass through it to an enhancer. Without weights it is a probe of a random network.
    """

    public_names: ClassVar[dict[str, str]] = {
        r"^": "body.",
        r"^body\.(encoder|predictor)\.": r"body.vjepa2.\1.",
        r"\.q_bias$": ".query.bias",
        r"\.v_bias$": ".value.bias",
    }

    def __init__(self, body: nn.Module, normalize: nn.Module) -> None:
        super().__init__(body, normalize)
        self.encoder().requires_grad_(False)

    def train(self, mode: bool = True) -> "Probe":
        """All but the encoder in this mode."""
        super().train(mode)
        self.encoder().eval()
        return self

    def encoder(self) -> nn.Module:
        """The body without its head."""
        return self.body.get_submodule(str(self.body.base_model_prefix))


class PairPool(nn.AvgPool3d):
    """S3D's average pooling, for any size: windows of two in time, all of space."""

    def __init__(self) -> None:
        super().__init__(kernel_size=2)

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, T - 1, 1, 1], or [B, C, 1, 1, 1] of a single frame."""
        return pool_pairs(input)


def _mvit_blocks(video: ModuleType) -> list:
    return [
        video.mvit.MSBlockConfig(
            num_heads=2**stage,
            input_channels=96 * 2**stage,
            output_channels=96 * 2**after,
            kernel_q=[3, 3, 3] if stage > before else [],
            kernel_kv=[3, 3, 3],
            stride_q=[1, 2, 2] if stage > before else [],
            stride_kv=[1, 8 // 2**stage, 8 // 2**stage],
        )
        for before, stage, after in zip((0, *MVIT_STAGES), MVIT_STAGES, (*MVIT_STAGES[1:], 3), strict=False)
    ]


def _check_multiples(model: str, frames: int, size: int, of_frames: int, of_size: int) -> None:
    for what, value, divisor in (("frames", frames, of_frames), ("pixels of a side", size, of_size)):
        if value % divisor:
            raise BadInput(f"{model} needs clips of a multiple of {divisor} {what}, not {value}.")


def _torchvision_video() -> ModuleType:
    import_torchvision()
    from torchvision.models import video

    return video


def _transformers() -> ModuleType:
    import_torchvision()  # transformers imports it, too
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise BadInput('This classifier needs transformers: pip install -e ".[zoo]".') from error
    return transformers
