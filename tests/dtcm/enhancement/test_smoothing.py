"""Both kinds of smoothing against scipy."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve

from dtcm.enhancement import smoothing
from dtcm.enhancement.smoothing import differences, gaussian, smooth


@pytest.mark.parametrize("border", ["reflect", "nearest"])
@pytest.mark.parametrize("sigma", [0.7, 3.0, 80.0])  # the last one reaches over the frame many times
def test_gaussian_is_scipys(sigma, border):
    x = np.random.default_rng(0).random((2, 3, 23, 31))
    expected = [[gaussian_filter(colour, sigma, mode=border) for colour in frame] for frame in x]
    np.testing.assert_allclose(gaussian(torch.from_numpy(x), sigma, border), expected, atol=1e-12)


def solve(x, down, right):
    """The system of `smooth` built pixel by pixel and solved by scipy."""
    height, width = x.shape
    matrix = lil_matrix((x.size, x.size))
    matrix.setdiag(1)
    for weights, step in ((down, (1, 0)), (right, (0, 1))):
        for i in range(height - step[0]):
            for j in range(width - step[1]):
                a, b, w = i * width + j, (i + step[0]) * width + j + step[1], weights[i, j]
                matrix[a, a] += w
                matrix[b, b] += w
                matrix[a, b] -= w
                matrix[b, a] -= w
    return spsolve(matrix.tocsc(), x.ravel()).reshape(x.shape)


@pytest.mark.parametrize("shape", [(13, 8), (7, 19), (1, 6), (5, 1), (1, 1)])
def test_edge_aware_smoothing_is_the_exact_solution(shape):
    rng = np.random.default_rng(1)
    x = rng.random((2, *shape))
    down, right = 10 ** rng.uniform(-4, 6, (2, 2, *shape))  # the range of LIME's weights
    expected = [solve(*frame) for frame in zip(x, down, right, strict=True)]
    np.testing.assert_allclose(smooth(*map(torch.from_numpy, (x, down, right))), expected, atol=1e-8)


def test_chunks_of_frames_change_nothing(monkeypatch):
    x, down, right = torch.rand(3, 5, 6, 4, generator=torch.Generator().manual_seed(0))
    whole = smooth(x, down, right)
    monkeypatch.setattr(smoothing, "CHUNK", 2 * 6 * 4 * 4)
    assert torch.allclose(smooth(x, down, right), whole, atol=1e-7)


def test_differences_end_at_the_border():
    down, right = differences(torch.tensor([[[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]]]))
    assert down.tolist() == [[[7, 14, 28], [0, 0, 0]]]
    assert right.tolist() == [[[1, 2, 0], [8, 16, 0]]]
