"""LIME, low-light enhancement by illumination map estimation (Guo, Li and Ling, TIP 2017).

The brightest of a pixel's colours is the first guess of its illumination T̂. The refined T minimises
‖T - T̂‖² + α Σ W_d (∇_d T)² / (|∇_d T̂| + ε), the paper's sped-up problem, with its third weighting,
W_d = 1 / (|G_σ * ∇_d T̂| + ε). The frame over T^γ is the result. α = 0.15, σ = 2 and γ = 0.8 are those of
the released demo. Decided where the source is silent: ε = 0.001, G_σ reaches to 4 σ, no difference reaches
over the border, and the BM3D denoising, which the paper calls optional, is left out.
"""

from torch import Tensor

from dtcm.enhancement.frames import per_frame
from dtcm.enhancement.smoothing import differences, gaussian, smooth

EPSILON = 1e-3


def lime(clip_BCTHW: Tensor, alpha: float = 0.15, sigma: float = 2.0, gamma: float = 0.8) -> Tensor:
    """Each frame divided by its refined illumination to the power γ, at most 1.

    `alpha` weighs the smoothness of the illumination, `sigma` is the reach of the texture weights in pixels.
    """

    def brighten(frames_NCHW: Tensor) -> Tensor:
        refined_NHW = refine(frames_NCHW.amax(dim=1), alpha, sigma)
        return (frames_NCHW / refined_NHW.clamp(min=EPSILON).pow(gamma)[:, None]).clamp(max=1)

    return per_frame(brighten, clip_BCTHW)


def refine(illumination_NHW: Tensor, alpha: float = 0.15, sigma: float = 2.0) -> Tensor:
    """T of T̂: smooth but for the edges of objects; both [N, H, W]."""
    weights = [
        alpha / (gaussian(difference, sigma).abs() + EPSILON) / (difference.abs() + EPSILON)
        for difference in differences(illumination_NHW)
    ]
    return smooth(illumination_NHW, *weights)
