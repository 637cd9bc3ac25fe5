"""Seeds: one integer of the experiment decides every random choice."""

import random

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch, for weights and whatever else draws from global generators.

    The data do not depend on it: their randomness is counted, see `dtcm.data.plan`.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
