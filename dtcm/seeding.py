"""Seeds: one integer of the experiment decides every random choice."""

import random

import numpy as np
import torch


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch for one step of one worker: masks of dropout are then the same whatever ran before, and after a loss.

    Without it a training that goes on would draw again what its first steps drew, and all workers would draw alike.
    """
    (drawn,) = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)
    torch.manual_seed(int(drawn >> np.uint64(1)))


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch, for weights and whatever else draws from global generators.

    The data do not depend on it: their randomness is counted, see `dtcm.data.plan`.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
