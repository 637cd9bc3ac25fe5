"""Random numbers of a step depend on seed, step and worker alone."""

import torch

from dtcm.seeding import seed_step


def drawn(*of):
    seed_step(*of)
    return torch.rand(4)


def test_a_step_draws_what_it_draws_whatever_was_drawn_before():
    first = drawn(3, 7, 1)
    torch.rand(100)
    assert torch.equal(drawn(3, 7, 1), first)


def test_no_two_steps_workers_or_seeds_draw_alike():
    everything = torch.stack([drawn(seed, step, rank) for seed in range(3) for step in range(5) for rank in range(4)])
    assert len(everything.unique(dim=0)) == 60
