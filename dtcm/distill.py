"""Knowledge of finished models for one that trains (Hinton et al., 2015, arXiv:1503.02531).

For the dark: the teacher of DL-KDD (Chang et al., 2024, arXiv:2406.02468) sees the clip brightened, that of ActLumos
(Suresh Dass et al., 2025, arXiv:2502.03724) dark and brightened; their students see it dark and are as cheap as one
stream. Here any finished models teach, by the mean of their logits: no learned fusion, no pretraining of the student.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from dtcm.models.dtcm import DTCM


class Teachers:
    """Models in eval mode with the student's classes; each brightens the dark clip by its own enhancer."""

    def __init__(self, models: Sequence[DTCM]) -> None:
        self.models = models

    @torch.no_grad()
    def __call__(self, clip_BCTHW: Tensor) -> Tensor:
        """The mean of the teachers' logits, [B, C], of dark clips in [0, 1]."""
        return torch.stack([model(clip_BCTHW).logits.float() for model in self.models]).mean(dim=0)


def distillation(student_BC: Tensor, teacher_BC: Tensor, temperature: float) -> Tensor:
    """T² KL(softmax(teacher / T) || softmax(student / T)) of logits, averaged over clips.

    T² keeps the size of the gradient the same for every T.
    """
    student, teacher = (log_softmax(logits / temperature, dim=1) for logits in (student_BC, teacher_BC))
    return temperature**2 * kl_div(student, teacher, reduction="batchmean", log_target=True)
