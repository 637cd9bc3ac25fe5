import pytest
import torch
from safetensors.torch import load
from torch import nn

from dtcm import checkpoint


def model_and_optimizer():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    groups = [{"params": list(model[2].parameters()), "lr": 0.1}, {"params": list(model[:2].parameters()), "lr": 0.01}]
    return model, torch.optim.AdamW(groups)


def step(model, optimizer, seed):
    torch.manual_seed(seed)
    optimizer.zero_grad()
    model(torch.randn(5, 4)).square().sum().backward()
    optimizer.step()


def test_training_goes_on_bit_for_bit_from_a_checkpoint():
    model, optimizer = model_and_optimizer()
    step(model, optimizer, 1)
    files = checkpoint.pack(model, optimizer, {"step": 1})
    step(model, optimizer, 2)

    other, other_optimizer = model_and_optimizer()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert checkpoint.unpack(files, other, other_optimizer) == {"step": 1}
    step(other, other_optimizer, 2)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_moments_are_stored_by_the_parameters_name():
    model, optimizer = model_and_optimizer()
    step(model, optimizer, 1)
    stored = load(checkpoint.pack(model, optimizer, {})[checkpoint.OPTIMIZER])
    assert torch.equal(stored["exp_avg/2.weight"], optimizer.state[model[2].weight]["exp_avg"])
    assert torch.equal(stored["exp_avg/0.weight"], optimizer.state[model[0].weight]["exp_avg"])


def test_weights_of_another_shape_are_refused():
    model, _ = model_and_optimizer()
    with pytest.raises(RuntimeError, match=r"0\.weight"):
        checkpoint.unpack_weights(checkpoint.pack_weights(model), nn.Sequential(nn.Linear(4, 4)))
