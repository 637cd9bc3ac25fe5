import pytest
import torch
from safetensors.torch import load, save
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


def test_a_checkpoint_carries_the_weights_of_the_best_epoch():
    model, optimizer = model_and_optimizer()
    best = checkpoint.pack_weights(model)
    step(model, optimizer, 1)
    alone = checkpoint.pack(model, optimizer, {})
    assert checkpoint.best_weights(alone) == alone[checkpoint.WEIGHTS] != best
    assert checkpoint.best_weights(checkpoint.pack(model, optimizer, {}, best=best)) == best


class Joint(nn.Module):
    def __init__(self, classes=2):
        super().__init__()
        self.enhancer = nn.Conv2d(3, 3, 1)
        self.classifier = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, classes))


def without(model, *names):
    return save({name: value for name, value in model.state_dict().items() if name not in names})


def test_initial_weights_are_loaded_by_name_and_the_last_layer_may_be_absent():
    torch.manual_seed(0)
    other, model, untouched = Joint(classes=5), Joint(), Joint()
    untouched.load_state_dict(model.state_dict())
    checkpoint.unpack_initial(without(other, "classifier.2.weight", "classifier.2.bias"), model)
    for name, value in model.state_dict().items():
        expected = untouched if name.startswith("classifier.2.") else other
        assert torch.equal(value, expected.state_dict()[name]), name
    whole = Joint()
    checkpoint.unpack_initial(checkpoint.pack_weights(whole), model)
    assert torch.equal(model.get_parameter("classifier.2.weight"), whole.get_parameter("classifier.2.weight"))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (without(Joint(), "enhancer.weight"), r"enhancer\.weight"),
        (without(Joint(), "classifier.1.running_mean"), r"classifier\.1\.running_mean"),
        (without(Joint(classes=5)), r"classifier\.2\.weight"),
        (save({**Joint().state_dict(), "other": torch.zeros(1)}), "other"),
    ],
)
def test_initial_weights_that_do_not_fit_are_refused_by_name(content, named):
    with pytest.raises(RuntimeError, match=named):
        checkpoint.unpack_initial(content, Joint())
