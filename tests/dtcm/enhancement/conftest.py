"""Clips in which there is something to brighten."""

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def dark_clip() -> torch.Tensor:
    """[2, 3, 3, 40, 52] of 8-bit levels: a dark scene with edges, a brighter window and noise; frames differ."""
    rng = np.random.default_rng(3)
    clip = np.full((2, 3, 3, 40, 52), 6.0) + np.linspace(0, 12, 52)
    clip[:, :, :, 10:25, 5:20] += 20
    clip[:, 0, :, 5:30, 30:36] += 35
    clip[1, :, :, :12, 38:] = 190
    clip = (clip + rng.normal(0, 1.5, clip.shape) + 3 * np.arange(3)[:, None, None]).clip(0, 255)
    return torch.from_numpy(clip.round() / 255).float()
