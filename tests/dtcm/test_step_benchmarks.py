import torch

from dtcm.models.curve import apply_curves, plain_curves
from dtcm.step_benchmarks import memory_ratios, peak_bytes

CPU = torch.device("cpu")
MIB = 2**20


def test_the_peak_is_what_lives_at_the_same_time():
    def call():
        first = torch.zeros(3 * MIB, dtype=torch.uint8)
        del first
        second, third = torch.zeros(2 * MIB, dtype=torch.uint8), torch.zeros(2 * MIB, dtype=torch.uint8)
        return second, third

    assert 4 * MIB <= peak_bytes(call, CPU) < 4.1 * MIB


def test_the_curve_in_one_pass_takes_less_than_half_of_the_memory():
    def peak(brighten):
        return peak_bytes(lambda: brighten(clip, curves, 4).sum().backward(), CPU)

    clip = torch.rand(1, 3, 16, 64, 64)
    curves = torch.rand(1, 4, 24, 64, 64, requires_grad=True)
    assert peak(apply_curves) < peak(plain_curves) / 2


def test_a_larger_k_takes_less_memory():
    ratios = memory_ratios((1, 4), "small3d", 4, 32, CPU)
    assert 0 < 2 * ratios[4] < ratios[1]
