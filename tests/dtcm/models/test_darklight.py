"""DarkLight: gamma, the weights that its streams share, and the tokens of both."""

import torch

from dtcm.models import create_classifier
from dtcm.models.darklight import brighten


def classifier(name, *args):
    return create_classifier(name, *args)


def test_8_bit_values_are_brightened_to_the_power_of_1_over_1_8():
    values = torch.arange(256, dtype=torch.float64) / 255
    expected = torch.tensor([(level / 255) ** (1 / 1.8) for level in range(256)], dtype=torch.float64)
    torch.testing.assert_close(brighten(values), expected)
    assert brighten(values)[0] == 0
    assert brighten(values)[-1] == 1


def test_the_curve_rises_everywhere_with_a_finite_slope():
    values = torch.linspace(0, 1, 4001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(brighten(values).sum(), values)
    assert slope.isfinite().all()
    assert 0 < slope.min() <= slope.max() < 25
    assert (brighten(values).diff() > 0).all()


def test_the_dark_and_the_brightened_clip_pass_the_same_weights_and_attention_reads_the_tokens_of_both():
    torch.manual_seed(0)
    model = classifier("darklight-r2plus1d-34", 3, 16, 16).eval()
    seen, sequences = [], []
    model.features.register_forward_hook(lambda _, args, output: seen.append((args[0], output)))
    model.self_attention.register_forward_pre_hook(lambda _, args: sequences.append(args[0]))
    clip = 0.2 * torch.rand(1, 3, 16, 16, 16)
    with torch.no_grad():
        model(clip)
    (dark_in, dark_out), (light_in, light_out) = seen
    assert torch.equal(dark_in, model.normalize(clip))
    assert torch.equal(light_in, model.normalize(brighten(clip)))
    expected = torch.cat([x.mean(dim=(3, 4)).transpose(1, 2) for x in (dark_out, light_out)], dim=1)
    torch.testing.assert_close(sequences[0], expected)
    assert sequences[0].shape == (1, 4, 512)


def test_resnexts_features_are_all_but_its_pooling_and_head():
    with torch.device("meta"):
        model = classifier("darklight-resnext3d-101", 11, 64, 112)
        features = model.features(torch.empty(1, 3, 64, 112, 112))
    assert features.shape == (1, 2048, 4, 4, 4)
    assert model.self_attention.embedding["learnedPosition"].pe.shape == (1, 9, 2048)
