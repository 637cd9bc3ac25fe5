"""What is computed: frozen dataclasses, from which a run follows exactly.

`Experiment` is logged, hashed, swept and stored. Where it runs is `components.settings`, which can
never change a result. Symbols are the paper's; the text below a field is also its help on the
command line.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from dtcm.errors import BadInput


@dataclass(frozen=True)
class DataConfig:
    """Which videos, and which frames and pixels of them."""

    root: str = ""
    """Folder of the videos and their lists. Empty: the built-in sample set, made on first use."""
    dataset: str = ""
    """Name under which runs and models are kept. Empty: "sample", or the name of the root folder."""
    format: Literal["auto", "arid-v1", "arid-v15", "uavhuman", "dark48", "table", "folder"] = "auto"
    """How the data set says what its videos are: by its official lists, by file names (uavhuman), by a CSV or
    Parquet table, or by class folders. auto: by what lies there."""
    lists: str = ""
    """Folder of the list files, where it is neither root/lists nor the root; or the file of a table."""
    split: int = 1
    """Which of the data set's splits to train and test on, from 1."""
    other: Literal["leave", "train", "test"] = "leave"
    """What becomes of ARID v1.0's list "other" (673 videos; it shares groups with the test list)."""
    max_missing_share: float = 0.0
    """A run does not start if more than this share of the listed videos is not there, as in a download of a part."""
    frames: int = 64
    """T, frames of a clip (paper: 64 or 16). Shorter videos loop."""
    stride: int = 1
    """Distance between two frames of a clip, in frames of the video (paper: 1)."""
    centre_px: int = 0
    """Side of the square cut from the middle of each frame before anything else (paper, UAVHuman: 128). 0: none."""
    width_px: int = 320
    """Frames are resized to this width before the crop (paper, ARID: 320)."""
    height_px: int = 240
    """Frames are resized to this height before the crop (paper, ARID: 240)."""
    crop_px: int = 112
    """Side of the square crop: random in training, central in testing (paper: 112)."""
    flip: bool = False
    """Mirror half of the training clips (not in the paper)."""
    balanced: bool = False
    """Draw every class equally often in an epoch, which stays as long: videos of small classes come again, of large
    ones each epoch takes others (not in the paper)."""
    val_fraction: float = 0.15
    """Share of the training list that is held out to choose the best epoch, by groups where known."""
    test_fraction: float = 0.3
    """Share held out for testing where the data set has no test list of its own, by groups."""
    max_quarantine_share: float = 0.0
    """A run does not start if more than this share of the videos cannot be read; those below it are left out."""

    @property
    def name(self) -> str:
        """The data set's name: as given, or from the root."""
        return self.dataset or (PurePosixPath(self.root.rstrip("/")).name if self.root else "sample")


@dataclass(frozen=True)
class ModelConfig:
    """The enhancer, the classifier, and how many frames share a curve."""

    enhancer: str = "light"
    """"light" (23,768 parameters, Sec. III-D) or "zero-dce" (79,416, the paper's baseline), which are trained; or a
    method that is not: none, gic, he, msr, lime, bimef, kind, stable-llve, sci or llnet (docs/enhancement.md)."""
    classifier: str = "resnext3d-101"
    """The action classifier; docs/models.md lists the names."""
    k: int = 4
    """Frames that share the curve of their keyframe (Eq. 10-11; paper: 4, studied: 1 to 16)."""
    init: Literal["random", "synthetic"] = "random"
    """What enhancer and classifier start from where no file is named. synthetic: from a training on videos that the
    generator of the sample set draws without end (docs/pretraining.md; not in the paper)."""
    enhancer_weights: str = ""
    """Public checkpoint or safetensors file from which the enhancer starts."""
    classifier_weights: str = ""
    """Public checkpoint or safetensors file from which the classifier starts (paper: Kinetics-400)."""


@dataclass(frozen=True)
class LossConfig:
    """How the parts are trained (Table VI), weights of Eq. 5 and Eq. 7, and options that the paper leaves open."""

    setting: Literal["one-stage", "one-stage-ar", "two-stage", "frozen"] = "one-stage"
    """one-stage: both by L_total (the paper's). one-stage-ar: both by L_AR alone. two-stage: the enhancer first, by
    all but L_AR, for optim.enhancer_epochs; then it rests and the classifier is trained on its output. frozen: the
    classifier alone, on the output of an enhancer that comes trained or needs no training."""
    alpha: float = 0.1
    """α of Eq. 7: weight of everything that is not the action loss (paper: 0.1)."""
    w_stc: float = 4.0
    """W_STC of Eq. 7: weight of the spatio-temporal consistency (paper: 4)."""
    w_col: float = 0.5
    """W_col of Eq. 5: weight of the colour constancy (paper: 0.5)."""
    w_tv: float = 20.0
    """W_tvA of Eq. 5: weight of the illumination smoothness (paper: 20)."""
    exposure: float = 0.6
    """Well-exposed level E to which 16x16 regions are drawn (Zero-DCE: 0.6)."""
    exposure_target: Literal["fixed", "luminance"] = "fixed"
    """fixed: E is `exposure` for every clip. luminance: E = e_min + (e_max - e_min) sqrt(min(1, Y/112)) with the dark
    clip's mean luma Y (Eq. 12) and 112, a normal exposure (Eq. 13): what is darker and noisier is raised less."""
    e_min: float = 0.4
    """E of a black clip where exposure_target is luminance (Zero-DCE saw little difference from 0.4 to 0.7)."""
    e_max: float = 0.7
    """E of a clip of normal exposure or more where exposure_target is luminance."""
    exposure_distance: Literal["squared", "absolute"] = "squared"
    """Distance from E: squared as Zero-DCE's code, or absolute as its paper."""
    color_distance: Literal["squares", "fourth-root"] = "squares"
    """Sum of squared channel differences, or Zero-DCE's code: root of the sum of fourth powers."""
    signed_differences: bool = False
    """Compare signed region differences (Zero-DCE's code) instead of absolute ones (Eq. 1)."""
    label_smoothing: float = 0.0
    """Share of each target that L_AR spreads over all classes (Szegedy et al., CVPR 2016; not in the paper)."""
    distill: float = 0.0
    """Weight of T² KL(teacher || student), added where the classifier is trained (Hinton et al., 2015). 0: none."""
    distill_temperature: float = 4.0
    """T, by which the logits of teachers and student are divided for that."""
    teachers: tuple[str, ...] = ()
    """Folders or URIs "RUN/model" of finished runs; the mean of their logits teaches. For a student that sees the dark
    clip alone (model.enhancer none) a run of gic teaches much as in DL-KDD (2024), one of none beside it much as in
    ActLumos (2025)."""
    supcon: float = 0.0
    """Weight of the supervised contrastive loss (Khosla et al., NeurIPS 2020, Eq. 2) on the input of the classifier's
    last layer, over the clips of all workers; of a micro-batch with optim.accumulate. 0: none."""
    supcon_temperature: float = 0.1
    """τ of the supervised contrastive loss."""


@dataclass(frozen=True)
class OptimConfig:
    """AdamW and its schedule (Sec. IV)."""

    epochs: int = 50
    """Passes over the training part (paper: 50)."""
    batch: int = 4
    """Clips of a global batch, over all workers (paper: 4)."""
    lr: float = 1e-5
    """Learning rate (paper: 1e-5, from Kinetics weights)."""
    enhancer_lr: float | None = None
    """Learning rate of the enhancer, where it is not `lr`."""
    enhancer_epochs: int = 10
    """Two-stage training only: passes that train the enhancer, before `epochs` of the classifier."""
    weight_decay: float = 0.01
    """Decoupled weight decay (torch's default; the paper names none)."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Course of the rates after the warm-up, in two-stage training of each stage: as they are (paper), or along half a
    cosine to 0 (SGDR without restarts, Loshchilov & Hutter, ICLR 2017)."""
    warmup_epochs: float = 0.0
    """Epochs in which the rates rise linearly from 0, in two-stage training at the start of each stage."""
    accumulate: int = 1
    """Parts that a batch is computed in, one after the other, for less memory. Batch statistics, and the contrast of
    loss.supcon, are then a part's."""
    clip_norm: float = 0.0
    """Longest norm of the gradient over all parameters; longer ones are scaled down to it. 0: any."""
    ema: float = 0.0
    """Decay d of a moving average of the weights, which is then validated and tested in their place. Step t, from 1,
    averages with min(d, t/(9 + t)), so that early weights are forgotten. 0: none; 0.999 fits thousands of steps."""
    pretrain_clips: int = 16_000
    """Synthetic videos that model.init synthetic pre-trains on, each seen once, in batches as of the training."""
    pretrain_lr: float = 1e-3
    """Learning rate with which it begins, to fall along half a cosine to 0."""
    checkpointing: bool = False
    """Recompute the activations of enhancer and classifier blocks in the backward pass (Chen et al., 2016): the same
    gradients in less memory, for the time of one more forward pass."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """bf16: convolutions and linear layers in bfloat16, weights in float32. auto: on a GPU what is right and fastest
    by a few steps before the training, kept for the run; on a CPU fp32."""
    memory_format: Literal["auto", "contiguous", "channels-last"] = "auto"
    """Layout of the classifier's clips. auto: on a GPU what is fastest; on a CPU contiguous."""
    compile: Literal["auto", "off", "on"] = "auto"
    """torch.compile. auto: on a GPU if that is faster; never with several workers, checkpointing or loss.supcon."""


@dataclass(frozen=True)
class Experiment:
    """Everything that decides a result. Equal experiments on equal data give equal runs."""

    recipe: str = "custom"
    """Name of the recipe this started from; only a label."""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    seed: int = 0
    """Seed of weights, order, frames and crops."""


def total_epochs(experiment: Experiment) -> int:
    """Epochs of the whole training: in two-stage training, of both stages."""
    optim = experiment.optim
    return optim.epochs + (optim.enhancer_epochs if experiment.loss.setting == "two-stage" else 0)


def to_dict(experiment: Experiment) -> dict[str, Any]:
    """The experiment as nested plain values, ready for JSON."""
    return dataclasses.asdict(experiment)


def to_json(experiment: Experiment) -> str:
    """The experiment as JSON with a stable order, ending in a newline."""
    return json.dumps(to_dict(experiment), indent=2, ensure_ascii=False) + "\n"


def from_dict(values: dict[str, Any]) -> Experiment:
    """The experiment that `to_dict` wrote. Raises BadInput for a field it does not know."""
    return with_overrides(Experiment(), _flatten(values))


def from_json(text: str) -> Experiment:
    """The experiment that `to_json` wrote."""
    return from_dict(json.loads(text))


def flatten(experiment: Experiment) -> dict[str, Any]:
    """Dotted names and plain values: {"data.root": "", ..., "seed": 0}."""
    return _flatten(to_dict(experiment))


def with_overrides(experiment: Experiment, overrides: dict[str, Any]) -> Experiment:
    """A copy with fields replaced by their dotted names, such as {"loss.alpha": 1.0}.

    Raises BadInput for a name that does not exist.
    """
    known = flatten(experiment)
    for name, value in overrides.items():
        if name not in known:
            raise BadInput(f"There is no experiment field {name!r}; the fields are {', '.join(sorted(known))}.")
        if isinstance(known[name], tuple):
            value = tuple(value)  # JSON knows only lists
        part, _, leaf = name.rpartition(".")
        change = {part: dataclasses.replace(getattr(experiment, part), **{leaf: value})} if part else {leaf: value}
        experiment = dataclasses.replace(experiment, **change)
    return experiment


def sha256(experiment: Experiment) -> str:
    """Hash of the experiment's canonical JSON: equal hashes, equal computation."""
    canonical = json.dumps(to_dict(experiment), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
