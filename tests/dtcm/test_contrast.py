import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from dtcm.config import LossConfig, ModelConfig, OptimConfig
from dtcm.contrast import head, head_input, supervised_contrastive
from dtcm.errors import BadInput
from dtcm.models import CLASSIFIERS, build, create_classifier
from dtcm.step import make_optimizer, set_trained, train_step


def naive(features, labels, temperature):
    """Khosla et al., Eq. 2 in float64, averaged over clips; one without a positive counts 0."""
    z = [f / np.linalg.norm(f) for f in np.asarray(features, np.float64)]
    total = 0.0
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        denominator = sum(math.exp(z[i] @ z[a] / temperature) for a in others)
        positives = [p for p in others if labels[p] == labels[i]]
        for p in positives:
            total -= math.log(math.exp(z[i] @ z[p] / temperature) / denominator) / len(positives)
    return total / len(z)


def test_three_clips_by_hand():
    # Clips 0 and 1 alike, 2 at a right angle; τ = 1. Anchors 0 and 1: -ln(e / (e + 1)); anchor 2 has no positive.
    features = torch.tensor([[2.0, 0.0], [5.0, 0.0], [0.0, 0.1]])
    expected = 2 / 3 * math.log(1 + 1 / math.e)
    assert supervised_contrastive(features, torch.tensor([4, 4, 7]), 1).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_it_equals_loops_over_pairs(temperature):
    features = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    labels = [0, 1, 0, 2, 1, 0, 3]
    found = supervised_contrastive(features, torch.tensor(labels), temperature)
    assert found.item() == pytest.approx(naive(features.numpy(), labels, temperature), rel=1e-5)


def test_without_any_positive_it_is_zero_with_zero_gradient():
    features = torch.randn(3, 4, requires_grad=True)
    loss = supervised_contrastive(features, torch.tensor([0, 1, 2]), 0.1)
    loss.backward()
    assert loss.item() == 0
    assert features.grad is not None
    assert features.grad.abs().max() == 0
    assert supervised_contrastive(features[:1], torch.tensor([0]), 0.1).item() == 0


def test_gradients_agree_with_finite_differences(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self)  # stay in float64
    features = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda f: supervised_contrastive(f, torch.tensor([0, 1, 0, 1, 1]), 0.5), features)


# One of each kind of last layer: linear, on each segment, convolution, on a grid.
@pytest.mark.parametrize(
    ("name", "width"), [("r3d-18", 512), ("tsn-r50", 2048), ("squeezenet3d", 512), ("small3d", 96 * 4**3)]
)
def test_the_last_layer_is_found_and_what_it_is_given_is_averaged_over_the_clip(name, width):
    with torch.device("meta"):
        classifier = create_classifier(name, 7, 8, 32)
        with head_input(classifier, 3) as features:
            classifier(torch.empty(3, 3, 8, 32, 32))
        classifier(torch.empty(3, 3, 8, 32, 32))  # no longer watched
    assert [tuple(f.shape) for f in features] == [(3, width)]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_last_layer_of_every_classifier_gives_its_logits(name):
    try:
        with torch.device("meta"):
            classifier = create_classifier(name, 7, 16, 112)
    except BadInput as error:  # an extra that is not installed
        pytest.skip(str(error))
    assert head(classifier).get_parameter("weight").shape[0] == 7


def test_features_of_segments_are_their_mean():
    torch.manual_seed(0)
    classifier = create_classifier("tsn-r50", 3, 8, 32).eval()
    with head_input(classifier, 2) as features, torch.no_grad():
        logits = classifier(torch.rand(2, 3, 8, 32, 32))
        torch.testing.assert_close(head(classifier)(features[0]), logits)  # a linear layer of the mean


def test_a_step_adds_the_weighted_contrast_and_moves_what_lies_before_the_last_layer():
    torch.manual_seed(0)
    model = build(ModelConfig(enhancer="none", classifier="small3d"), num_classes=2, frames=4, size=24)
    optimizer = make_optimizer(model, OptimConfig(lr=1e-3))
    set_trained(model, "both")
    clips, labels = torch.randint(0, 60, (4, 4, 24, 24, 3), dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
    config = LossConfig(alpha=0, supcon=3.0)
    found = [train_step(model, optimizer, clips, labels, config) for _ in range(10)]
    assert found[0]["total"] == pytest.approx(found[0]["ar"] + 3 * found[0]["supcon"], rel=1e-5)
    assert found[-1]["supcon"] < found[0]["supcon"]
