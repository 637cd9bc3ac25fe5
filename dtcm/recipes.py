"""Named experiments, one function each. A recipe is a start: every field can still be changed by a flag."""

from collections.abc import Callable

from dtcm.config import DataConfig, Experiment, LossConfig, ModelConfig, OptimConfig


def sample() -> Experiment:
    """Small enough for two CPU cores and minutes: the built-in sample set, or any folder, from scratch.

    α is 1, also of Table VII: in so few steps 0.1 would hardly brighten.
    """
    return Experiment(
        recipe="sample",
        data=DataConfig(frames=16, stride=3, width_px=96, height_px=72, crop_px=64, flip=True),
        model=ModelConfig(classifier="small3d"),
        loss=LossConfig(alpha=1.0),
        optim=OptimConfig(epochs=12, batch=4, lr=1e-3),
    )


def arid_v1() -> Experiment:
    """The paper's experiment on ARID v1.0: 64 frames of 112x112, 3D-ResNeXt-101 (Sec. IV, Table III)."""
    return Experiment(recipe="arid-v1", data=DataConfig(dataset="arid-v1", format="arid-v1"))


def arid_v1_16x224() -> Experiment:
    """The paper's other input on ARID v1.0: 16 frames of 224x224 (Table III)."""
    data = DataConfig(dataset="arid-v1", format="arid-v1", frames=16, crop_px=224)
    return Experiment(recipe="arid-v1-16x224", data=data)


def arid_v15() -> Experiment:
    """The paper's training on ARID v1.5, as released for the UG2+ challenge."""
    return Experiment(recipe="arid-v15", data=DataConfig(dataset="arid-v15", format="arid-v15"))


def uavhuman_fisheye() -> Experiment:
    """The paper's experiment on UAVHuman-Fisheye, cross-subject v1: the middle 128x128 of each frame (Table IV)."""
    data = DataConfig(dataset="uavhuman-fisheye", format="uavhuman", centre_px=128, width_px=128, height_px=128)
    return Experiment(recipe="uavhuman-fisheye", data=data)


def dark48() -> Experiment:
    """The paper's experiment on Dark-48 (Table V); frames are resized as ARID's, the paper names no other size."""
    return Experiment(recipe="dark48", data=DataConfig(dataset="dark48", format="dark48"))


RECIPES: dict[str, Callable[[], Experiment]] = {
    "sample": sample,
    "arid-v1": arid_v1,
    "arid-v1-16x224": arid_v1_16x224,
    "arid-v15": arid_v15,
    "uavhuman-fisheye": uavhuman_fisheye,
    "dark48": dark48,
}
