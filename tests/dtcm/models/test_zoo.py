"""Classifiers of other libraries: the published models, frozen where they are probes, and allowed to be absent."""

import importlib.util
import sys

import pytest
import torch

from dtcm.errors import BadInput
from dtcm.models import create_classifier, zoo
from dtcm.models.torchvision_import import import_torchvision

LIBRARIES = ("torchvision", "transformers")
needs_libraries = pytest.mark.skipif(
    any(importlib.util.find_spec(library) is None for library in LIBRARIES),
    reason=f"{' and '.join(LIBRARIES)} are not both installed",
)


@needs_libraries
def test_torchvision_can_be_imported_beside_this_torch_again_and_again():
    assert import_torchvision() is import_torchvision() is sys.modules["torchvision"]


@pytest.mark.parametrize(
    ("name", "library"), [("s3d", "torchvision"), ("videomae-b", "torchvision"), ("vjepa2-l", "transformers")]
)
def test_what_is_not_installed_is_named(monkeypatch, name, library):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setattr(zoo, "import_torchvision", zoo.import_torchvision if library == "torchvision" else lambda: None)
    with pytest.raises(BadInput, match=rf'needs {library}: pip install -e "\.\[zoo\]"'):
        create_classifier(name, 3, 16, 224)


@needs_libraries
def test_mvit_of_16_frames_is_torchvisions_mvit_v1_b():
    video = zoo._torchvision_video()
    with torch.device("meta"):
        ours, theirs = zoo.mvit_b_64x3(400, 16, 224).get_submodule("body"), video.mvit_v1_b()
    assert {name: tuple(value.shape) for name, value in ours.state_dict().items()} == {
        name: tuple(value.shape) for name, value in theirs.state_dict().items()
    }
    strides = [
        [layer.stride for layer in model.modules() if isinstance(layer, torch.nn.Conv3d)] for model in (ours, theirs)
    ]
    assert strides[0] == strides[1]


@needs_libraries
def test_s3ds_pooling_is_torchvisions_at_224_pixels_and_fits_any_size():
    features = torch.rand(1, 4, 3, 7, 7)
    torch.testing.assert_close(zoo.PairPool()(features), torch.nn.AvgPool3d((2, 7, 7), stride=1)(features))
    assert zoo.PairPool()(torch.rand(1, 4, 1, 2, 3)).shape == (1, 4, 1, 1, 1)


@needs_libraries
@pytest.mark.parametrize(
    ("name", "trained"),
    [
        ("videomae-b", ("fc_norm.weight", "fc_norm.bias", "classifier.weight", "classifier.bias")),
        ("vjepa2-l", ("pooler.", "classifier.")),
    ],
)
def test_a_probe_trains_its_head_and_keeps_its_encoder_frozen_and_in_evaluation_mode(name, trained):
    with torch.device("meta"):
        probe = create_classifier(name, 3, 16, 32).train()
    for parameter_name, parameter in probe.named_parameters():
        assert parameter.requires_grad == parameter_name.removeprefix("body.").startswith(trained), parameter_name
    assert not any(module.training for module in probe.get_submodule(f"body.{name.split('-')[0]}").modules())
    assert probe.training
    assert probe.get_submodule("body.classifier").training


@needs_libraries
@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("s3d", 0.43216, 0.22803),
        ("video-swin-b", 0.485, 0.229),
        ("mvit-b-64x3", 0.45, 0.225),
        ("timesformer-l", 0.45, 0.225),
        ("videomae-b", 0.485, 0.229),
        ("vjepa2-l", 0.485, 0.229),
    ],
)
def test_input_is_normalised_as_the_librarys_weights_expect(name, mean, std, monkeypatch):
    seen = []
    monkeypatch.setattr(zoo, "Normalize", lambda mean, std: seen.append((mean[0], std[0])) or torch.nn.Identity())
    with torch.device("meta"):
        create_classifier(name, 3, 16, 64)
    assert seen == [(mean, std)]


@needs_libraries
def test_a_video_of_t_frames_reaches_transformers_models_with_time_before_channels():
    with torch.device("meta"):
        model = create_classifier("timesformer-l", 3, 8, 32)
        seen = []
        model.get_submodule("body.timesformer").register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
        assert model(torch.empty(2, 3, 8, 32, 32)).shape == (2, 3)
    assert seen == [(2, 8, 3, 32, 32)]
