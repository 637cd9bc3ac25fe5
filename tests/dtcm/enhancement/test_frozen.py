"""A method in the place of the enhancer: it brightens, and the classifier alone learns."""

from typing import Any

import pytest
import torch
from torch import nn

from dtcm.checkpoint import pack_weights, unpack_weights
from dtcm.config import OptimConfig
from dtcm.enhancement import LEARNED, METHODS, SCI, LLNet
from dtcm.errors import BadInput
from dtcm.losses import spatio_temporal_consistency
from dtcm.models import DTCM, create_classifier
from dtcm.models.frozen import FrozenEnhancer, _load, create
from dtcm.step import make_optimizer


def joint_model(method, size=24):
    torch.manual_seed(0)
    enhancer: Any = FrozenEnhancer(method)
    return DTCM(enhancer, create_classifier("small3d", 2, 4, size), k=4)


def test_the_joint_model_classifies_the_brightened_clip_and_has_no_curves():
    model = joint_model(METHODS["gic"]()).eval()
    dark = torch.rand(2, 3, 4, 24, 24) / 10
    output = model(dark)
    torch.testing.assert_close(output.enhanced, dark**0.1)
    assert output.curves.shape == (2, 0, 24, 24, 24)
    torch.testing.assert_close(output.logits, model.classifier(dark**0.1))


def test_training_moves_the_classifier_and_nothing_of_the_method():
    model = joint_model(SCI()).train()
    optimizer = make_optimizer(model, OptimConfig(lr=0.1, weight_decay=0.5))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    output = model(torch.rand(2, 3, 4, 24, 24) / 10)
    loss = output.logits.square().sum() + spatio_temporal_consistency(output.enhanced, torch.zeros(2, 3, 4, 24, 24))
    loss.backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert any(name.startswith("classifier.") for name in changed)
    assert not any(name.startswith("enhancer.") for name in changed)  # batch statistics and weight decay included


def test_a_method_is_computed_in_float32_under_autocast():
    enhancer, dark = FrozenEnhancer(METHODS["msr"]()), torch.rand(1, 3, 2, 16, 16)
    expected = enhancer(dark).clip
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(enhancer(dark).clip, expected)


def test_weights_of_a_learned_method_are_stored_with_the_model():
    model, other = joint_model(SCI()), joint_model(SCI())
    nn.init.ones_(other.get_parameter("enhancer.method.enhance.in_conv.0.weight"))
    unpack_weights(pack_weights(model), other)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("name", sorted(METHODS))
def test_methods_pass_a_dry_step(name):
    with torch.device("meta"):
        enhancer = FrozenEnhancer(METHODS[name]())
    enhanced, curves = enhancer(torch.empty(1, 3, 2, 32, 32, device="meta"))
    assert enhanced.shape == (1, 3, 2, 32, 32)
    assert curves.shape == (1, 0, 24, 32, 32)


def test_unknown_names_and_needless_or_lacking_weights_are_refused(tmp_path):
    with pytest.raises(BadInput, match="no enhancement method 'clahe'"):
        create("clahe")
    with pytest.raises(BadInput, match="'gic' has no weights"):
        create("gic", "weights.pt")
    for name in LEARNED:
        with pytest.raises(BadInput, match="needs its public weights"):
            create(name)


def test_incomplete_weights_are_refused(tmp_path):
    state = SCI().state_dict()
    del state["enhance.out_conv.0.bias"]
    torch.save(state, tmp_path / "sci.pt")
    with pytest.raises(BadInput, match=r"lacks 1 tensors \(enhance.out_conv.0.bias"):
        create("sci", str(tmp_path / "sci.pt"))


def test_a_last_layer_of_another_size_is_no_llnet(tmp_path):
    state = LLNet(hidden=(4,)).state_dict()
    state["logLayer.weight"], state["logLayer.bias"] = torch.zeros(10, 4), torch.zeros(10)
    torch.save(state, tmp_path / "llnet.pt")
    with pytest.raises(BadInput, match=r"lacks 2 tensors \(logLayer.weight"):
        _load(LLNet(hidden=(4,)), str(tmp_path / "llnet.pt"))


def test_weights_below_the_smallest_normal_number_become_zero(tmp_path):
    state = SCI().state_dict()
    state["enhance.in_conv.0.bias"] = torch.tensor([1e-42, 1e-30, -0.5])
    torch.save(state, tmp_path / "sci.pt")
    loaded = create("sci", str(tmp_path / "sci.pt")).state_dict()
    assert torch.equal(loaded["enhance.in_conv.0.bias"], torch.tensor([0, 1e-30, -0.5]))
    assert torch.equal(loaded["enhance.out_conv.0.weight"], state["enhance.out_conv.0.weight"])
