import copy

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from dtcm.config import LossConfig, ModelConfig, OptimConfig
from dtcm.models import build, create_classifier
from dtcm.models.batchnorm import GlobalBatchNorm, synchronized
from dtcm.recompute import blocks, recompute
from dtcm.step import make_optimizer, predict, set_trained, train_step

# Residual blocks; no sequence of blocks; dropout, and frames as images.
NAMES = ("r3d-18", "small3d", "tsn-r50")
PAPER = LossConfig()


def model_of(name, enhancer="light"):
    torch.manual_seed(0)
    return build(ModelConfig(enhancer=enhancer, classifier=name, k=2), num_classes=3, frames=8, size=32)


def clips():
    return torch.randint(0, 60, (2, 8, 32, 32, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def one_step(model, config=PAPER):
    """Gradients and batch statistics after a step, and the bytes that the backward pass found stored."""
    optimizer = make_optimizer(model, OptimConfig(lr=0.0, weight_decay=0.0))
    set_trained(model, "both")
    stored = {}

    def keep(tensor):
        stored[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(5)  # dropout
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        parts = train_step(model, optimizer, clips(), torch.tensor([2, 2]), config)
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return parts, gradients, dict(model.named_buffers()), sum(stored.values())


@pytest.mark.parametrize("name", NAMES)
def test_the_same_gradients_and_batch_statistics_from_less_memory(name):
    plain = model_of(name)
    thrifty = copy.deepcopy(plain)
    recompute(thrifty)
    parts, gradients, buffers, bytes_stored = one_step(plain)
    thrifty_parts, thrifty_gradients, thrifty_buffers, thrifty_bytes = one_step(thrifty)
    assert thrifty_parts == parts
    assert thrifty_gradients.keys() == gradients.keys()
    assert all(torch.equal(thrifty_gradients[key], value) for key, value in gradients.items())
    assert all(torch.equal(thrifty_buffers[key], value) for key, value in buffers.items())
    assert thrifty_bytes < bytes_stored / 2


@pytest.mark.parametrize("name", ["i3d-rgb", "small3d"])
def test_a_contrast_of_what_lies_within_a_block_has_the_same_gradients(name):
    plain, config = model_of(name), LossConfig(supcon=1.0, supcon_temperature=0.01)
    thrifty = copy.deepcopy(plain)
    recompute(thrifty)
    parts, gradients, _, _ = one_step(plain, config)
    thrifty_parts, thrifty_gradients, _, _ = one_step(thrifty, config)
    assert thrifty_parts == parts
    assert all(torch.equal(thrifty_gradients[key], value) for key, value in gradients.items())


def test_a_state_dict_keeps_its_names_and_prediction_its_values():
    plain = model_of("r3d-18").eval()
    thrifty = copy.deepcopy(plain)
    recompute(thrifty)
    assert list(thrifty.state_dict()) == list(plain.state_dict())
    assert torch.equal(predict(thrifty, clips()).logits, predict(plain, clips()).logits)


def test_the_projects_own_batch_normalisation_takes_clips_in_once(monkeypatch):
    monkeypatch.setattr("torch.distributed.all_reduce", lambda tensor: None)  # a single worker
    model = synchronized(model_of("r3d-18"), torch.device("cpu"))
    assert any(isinstance(module, GlobalBatchNorm) for module in model.modules())
    plain = copy.deepcopy(model)
    recompute(model)
    buffers = one_step(plain)[2]
    assert all(torch.equal(value, buffers[key]) for key, value in one_step(model)[2].items())


def test_an_enhancer_that_learns_nothing_stays_as_it_is():
    model = model_of("small3d", "gic")
    plain = copy.deepcopy(model)
    recompute(model)
    assert one_step(model)[:1] == one_step(plain)[:1]


@pytest.mark.parametrize(
    ("name", "count", "kind"),
    [
        ("resnext3d-101", 33, "ResNeXtBottleneck"),
        ("tsn-r50", 16, "Bottleneck"),
        ("mobilenet3d-v2", 17, "InvertedResidual"),
        ("i3d-rgb", 13, "Unit"),
        ("small3d", 1, "Sequential"),
    ],
)
def test_blocks_are_the_outermost_that_stand_in_a_sequence(name, count, kind):
    with torch.device("meta"):
        found = blocks(create_classifier(name, 3, 16, 64))
    assert (len(found), type(found[0]).__name__) == (count, kind)
