"""The joint model: its output, its gradients, autocast, and building it from a config."""

import importlib.util
import logging

import pytest
import torch
from safetensors.torch import save_file

from dtcm import losses
from dtcm.config import LossConfig, ModelConfig
from dtcm.errors import BadInput
from dtcm.models import CLASSIFIERS, DTCM, ENHANCERS, build, create_classifier, create_enhancer
from dtcm.models.dtcm import to_model_input

SMALL = ModelConfig(classifier="small3d")
ZOO = {
    **dict.fromkeys(("i3d-flow", "i3d-two-stream", "tsn-r50-two-stream", "vgg16-two-stream"), ("cv2",)),
    **dict.fromkeys(("s3d", "video-swin-b", "mvit-b-64x3"), ("torchvision",)),
    **dict.fromkeys(("timesformer-l", "videomae-b", "vjepa2-l"), ("torchvision", "transformers")),
}
"""Classifiers by what must be installed for them."""


def small_model(frames, size):
    """A joint model of three classes whose logits are not all 0, as a fresh small3d's are."""
    torch.manual_seed(0)
    model = build(SMALL, 3, frames, size)
    torch.nn.init.normal_(model.classifier.get_parameter("fc.weight"))
    return model


def test_model_input_is_unit_range_channels_first():
    batch = torch.randint(0, 256, (2, 5, 4, 6, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batch[0, 0, 0, 0], batch[1, 4, 3, 5] = torch.tensor([0, 128, 255]), torch.tensor([255, 1, 0])
    clip = to_model_input(batch, "cpu")
    assert clip.shape == (2, 3, 5, 4, 6)
    assert clip.dtype == torch.float32
    assert clip.is_contiguous()
    assert clip[0, :, 0, 0, 0].tolist() == pytest.approx([0, 128 / 255, 1])
    assert clip[1, :, 4, 3, 5].tolist() == pytest.approx([1, 1 / 255, 0])
    assert torch.equal((clip * 255).round().byte().permute(0, 2, 3, 4, 1), batch)


def test_output_is_the_enhancers_clip_and_the_classifiers_logits_of_it():
    model = small_model(frames=6, size=16).eval()
    clip = torch.rand(2, 3, 6, 16, 16)
    with torch.no_grad():
        output = model(clip)
        enhanced, curves = model.enhancer(clip, k=4)
        assert torch.equal(output.enhanced, enhanced)
        assert torch.equal(output.curves, curves)
        assert torch.equal(output.logits, model.classifier(enhanced))
    assert output.logits.shape == (2, 3)
    assert output.curves.shape == (2, 2, 24, 16, 16)


def test_the_joint_loss_trains_both_networks():
    torch.manual_seed(0)
    model = build(SMALL, num_classes=3, frames=4, size=16)
    clip, labels = 0.1 * torch.rand(2, 3, 4, 16, 16), torch.tensor([0, 2])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    values = []
    for _ in range(15):
        loss = losses.joint(model(clip), labels, clip, LossConfig())
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        values.append(loss)
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert values[-1].total < 0.8 * values[0].total
    assert values[-1].parts["ar"] < values[0].parts["ar"]


def test_the_action_loss_alone_reaches_the_enhancer():
    model = small_model(frames=4, size=16)
    clip = 0.1 * torch.rand(2, 3, 4, 16, 16)
    torch.nn.functional.cross_entropy(model(clip).logits, torch.tensor([0, 2])).backward()
    gradient = model.enhancer.get_parameter("layer1.0.weight").grad
    assert gradient is not None
    assert gradient.abs().max() > 0


def test_under_bfloat16_autocast_everything_returned_is_float32_and_trainable():
    model = small_model(frames=4, size=32)
    clip = 0.1 * torch.rand(2, 3, 4, 32, 32)
    exact = model(clip)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(clip)
        loss = losses.joint(output, torch.tensor([0, 2]), clip, LossConfig())
    assert {tensor.dtype for tensor in (*output, loss.total)} == {torch.float32}
    assert 0 <= output.enhanced.min() <= output.enhanced.max() <= 1
    assert (output.logits - exact.logits).abs().max() < 0.2 * exact.logits.abs().max()
    assert not torch.equal(output.logits, exact.logits)  # bfloat16 was used
    loss.total.backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_predictions_do_not_depend_on_the_batch_in_eval():
    model = small_model(frames=5, size=16).eval()
    clip = torch.rand(3, 3, 5, 16, 16)
    with torch.no_grad():
        together = model(clip).logits
        alone = torch.cat([model(clip[b : b + 1]).logits for b in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_build_loads_the_weight_files_and_logs_what_they_gave(tmp_path, caplog):
    enhancer, classifier = create_enhancer("zero-dce"), create_classifier("small3d", 7, 4, 16)
    save_file(enhancer.state_dict(), tmp_path / "enhancer.safetensors")
    save_file(classifier.state_dict(), tmp_path / "classifier.safetensors")
    config = ModelConfig(
        enhancer="zero-dce",
        classifier="small3d",
        k=2,
        enhancer_weights=str(tmp_path / "enhancer.safetensors"),
        classifier_weights=str(tmp_path / "classifier.safetensors"),
    )
    with caplog.at_level(logging.INFO):
        model = build(config, num_classes=3, frames=4, size=16)
    for name, tensor in enhancer.state_dict().items():
        assert torch.equal(model.enhancer.state_dict()[name], tensor)
    ours, theirs = model.classifier.state_dict(), classifier.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if not name.startswith("fc."))
    assert model.classifier.get_parameter("fc.bias").shape == (3,)
    assert "14 tensors loaded" in caplog.text
    assert "2 replaced (fc.weight, fc.bias)" in caplog.text


@pytest.mark.parametrize(
    ("config", "shape", "message"),
    [
        (ModelConfig(enhancer="ligth"), (3, 16, 64), "no enhancer 'ligth'; did you mean 'light'"),
        (ModelConfig(enhancer="?"), (3, 16, 64), "the names are light, zero-dce"),
        (ModelConfig(classifier="resnext-101"), (3, 16, 64), "did you mean 'resnext3d-101'"),
        (ModelConfig(classifier="small3d", k=0), (3, 16, 64), "choose 1 or more, not 0"),
        (SMALL, (3, 0, 64), "frames of at least 1, not 0"),
        (SMALL, (3, 16, 0), "size of at least 1, not 0"),
        (SMALL, (0, 16, 64), "num_classes of at least 1, not 0"),
        (ModelConfig(classifier="small3d", classifier_weights="absent.pth"), (3, 16, 64), "no weights file absent.pth"),
    ],
)
def test_what_cannot_be_built_is_said_in_a_sentence(config, shape, message):
    with pytest.raises(BadInput, match=message.replace("?", r"\?")):
        build(config, *shape)


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if not name.endswith("x")])  # of any width
def test_every_classifier_takes_clips_in_0_1_and_returns_logits(name):
    for library in ZOO.get(name, ()):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{name} needs {library}, which is not installed")
    with torch.device("meta"):
        model = DTCM(create_enhancer("light"), create_classifier(name, 48, 16, 64), k=4)
        output = model(torch.empty(2, 3, 16, 64, 64))
    assert output.logits.shape == (2, 48)


@pytest.mark.parametrize("name", ENHANCERS)
def test_every_enhancer_fits_the_joint_model(name):
    with torch.device("meta"):
        model = DTCM(create_enhancer(name), create_classifier("small3d", 4, 10, 32), k=4)
        output = model(torch.empty(2, 3, 10, 32, 32))
    assert output.enhanced.shape == (2, 3, 10, 32, 32)
    assert output.curves.shape == (2, 3, 24, 32, 32)
