"""Checkpoints in the forms in which they are published, and files that must be refused."""

import collections
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dtcm.errors import BadInput
from dtcm.models import create_classifier, load_pretrained


def random_state(module):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(tensor.shape, generator=generator) for name, tensor in module.state_dict().items()}


@pytest.fixture
def small():
    return create_classifier("small3d", 3, 4, 16)


def test_a_2018_kinetics_checkpoint_loads_but_for_its_head(tmp_path):
    model = create_classifier("r3d-18", 11, 16, 112)
    weights = {
        name: tensor
        for name, tensor in random_state(create_classifier("r3d-18", 400, 16, 112)).items()
        if not name.endswith("num_batches_tracked")  # torch 0.3 had none
    }
    fc_before = model.get_parameter("fc.weight").detach().clone()
    path = tmp_path / "resnet-18-kinetics.pth"
    checkpoint = {
        "epoch": 400,
        "arch": "resnet-18",
        "state_dict": collections.OrderedDict({f"module.{name}": tensor for name, tensor in weights.items()}),
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9).state_dict(),
    }
    torch.save(checkpoint, path, _use_new_zipfile_serialization=False)

    report = load_pretrained(model, path)

    assert report.replaced == ("fc.weight", "fc.bias")
    assert report.missing == report.unexpected == ()
    assert set(report.loaded) == set(weights) - {"fc.weight", "fc.bias"}
    state = model.state_dict()
    assert all(torch.equal(state[name], weights[name]) for name in report.loaded)
    assert torch.equal(model.get_parameter("fc.weight"), fc_before)


def test_a_head_of_the_same_class_count_is_loaded(tmp_path, small):
    weights = random_state(small)
    torch.save(weights, tmp_path / "weights.pt")
    report = load_pretrained(small, tmp_path / "weights.pt")
    assert report.replaced == ()
    assert torch.equal(small.fc.weight, weights["fc.weight"])


def test_what_is_missing_or_left_over_is_named_and_printed(tmp_path, small):
    weights = random_state(small)
    del weights["fc.bias"]
    weights["extra.weight"] = torch.zeros(2)
    save_file(weights, tmp_path / "weights.safetensors")
    bias_before = small.fc.bias.detach().clone()

    report = load_pretrained(small, str(tmp_path / "weights.safetensors"))

    assert report.missing == ("fc.bias",)
    assert report.unexpected == ("extra.weight",)
    assert torch.equal(small.fc.bias, bias_before)
    assert torch.equal(small.fc.weight, weights["fc.weight"])
    assert str(report) == (
        f"{tmp_path}/weights.safetensors: {len(weights) - 1} tensors loaded; 1 missing (fc.bias); "
        "1 unexpected (extra.weight)"
    )


def test_a_wrong_shape_elsewhere_is_refused_and_nothing_is_changed(tmp_path, small):
    weights = random_state(small)
    last = [name for name in weights if not name.startswith("fc.")][-1]
    weights[last] = torch.zeros(5)
    save_file(weights, tmp_path / "weights.safetensors")
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    with pytest.raises(BadInput, match=rf"holds {last} of shape \[5\]"):
        load_pretrained(small, tmp_path / "weights.safetensors")
    assert all(torch.equal(tensor, before[name]) for name, tensor in small.state_dict().items())


def test_a_head_of_other_features_is_a_wrong_shape_not_another_class_count(tmp_path, small):
    weights = random_state(small) | {"fc.weight": torch.zeros(3, 7)}
    save_file(weights, tmp_path / "weights.safetensors")
    with pytest.raises(BadInput, match=r"holds fc.weight of shape \[3, 7\]"):
        load_pretrained(small, tmp_path / "weights.safetensors")


def test_a_model_without_a_head_replaces_nothing(tmp_path):
    torch.save({"weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "weights.pth")
    with pytest.raises(BadInput, match=r"holds weight of shape \[8, 3, 3, 3\] where Conv2d has \[4, 3, 3, 3\]"):
        load_pretrained(nn.Conv2d(3, 4, 3, bias=False), tmp_path / "weights.pth")


def test_a_file_of_another_model_is_refused(tmp_path, small):
    torch.save({"encoder.weight": torch.zeros(2)}, tmp_path / "weights.pth")
    with pytest.raises(BadInput, match="none of the weights of Small3D"):
        load_pretrained(small, tmp_path / "weights.pth")


class Payload:
    """What a malicious checkpoint would hold: code that runs when it is unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('the checkpoint ran code')",))


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path, small):
    torch.save({"state_dict": small.state_dict(), "args": Payload()}, tmp_path / "weights.pth")
    with pytest.raises(BadInput, match="could run code"):
        load_pretrained(small, tmp_path / "weights.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights", pickle.dumps([1, 2], protocol=2)])
def test_a_broken_file_is_refused(tmp_path, small, suffix, content):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="weights"):
        load_pretrained(small, path)


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"state_dict": {"epoch": 3}}, torch.zeros(3)])
def test_a_file_without_named_tensors_is_refused(tmp_path, small, content):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(BadInput, match="no mapping of names to tensors"):
        load_pretrained(small, tmp_path / "weights.pth")


def test_an_absent_file_is_named(small):
    with pytest.raises(BadInput, match=r"no weights file nowhere\.pth"):
        load_pretrained(small, "nowhere.pth")
