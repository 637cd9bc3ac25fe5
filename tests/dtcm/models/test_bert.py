"""The late BERT head: attention, normalisation, masks, class token and positions."""

import pytest
import torch
from torch import nn

from dtcm.models import create_classifier
from dtcm.models.bert import Encoder, LateBert, Norm, tokens


def classifier(name, *args):
    return create_classifier(name, *args)


def test_attention_is_torchs_multi_head_attention_of_the_same_weights():
    torch.manual_seed(0)
    encoder, theirs = Encoder(32).eval(), nn.MultiheadAttention(32, 8, batch_first=True).eval()
    ours = encoder.attention.state_dict()
    theirs.in_proj_weight.data = torch.cat([ours[f"linear_layers.{i}.weight"] for i in range(3)])
    theirs.in_proj_bias.data = torch.cat([ours[f"linear_layers.{i}.bias"] for i in range(3)])
    theirs.out_proj.load_state_dict(encoder.attention["output_linear"].state_dict())
    x = torch.randn(2, 5, 32)
    seen = torch.tensor([[True, True, False, True, False], [True, False, True, True, True]])
    with torch.no_grad():
        for mask, ignored in ((None, None), (seen[:, None, None], ~seen)):
            expected, _ = theirs(x, x, x, key_padding_mask=ignored)
            torch.testing.assert_close(encoder.attend(x, mask), expected)


def test_the_norm_divides_by_the_unbiased_standard_deviation():
    x = torch.tensor([[1.0, 2.0, 3.0, 6.0]])  # mean 3, squares 4 + 1 + 0 + 9 = 14 over 3
    expected = (x - 3) / ((14 / 3) ** 0.5 + 1e-6)
    torch.testing.assert_close(Norm(4)(x), expected)


def test_an_encoder_adds_attention_and_feed_forward_to_what_it_normalised():
    torch.manual_seed(0)
    encoder, x = Encoder(16).eval(), torch.randn(2, 3, 16)
    with torch.no_grad():
        after = x + encoder.attend(encoder.input_sublayer["norm"](x), None)
        hidden = encoder.feed_forward["w_1"](encoder.output_sublayer["norm"](after))
        gelu = 0.5 * hidden * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (hidden + 0.044715 * hidden**3)))
        torch.testing.assert_close(encoder(x, None), after + encoder.feed_forward["w_2"](gelu))


def test_the_order_of_tokens_matters_by_their_positions_alone():
    torch.manual_seed(0)
    bert, x = LateBert(16, tokens=4, seen=1.0).eval(), torch.randn(1, 4, 16)
    positions = bert.get_parameter("embedding.learnedPosition.pe")
    with torch.no_grad():
        positions.normal_()
        assert not torch.allclose(bert(x), bert(x.flip(1)), atol=1e-3)
        positions[:, 1:] = 0
        torch.testing.assert_close(bert(x), bert(x.flip(1)))


def test_the_answer_is_the_class_tokens_and_depends_on_it():
    torch.manual_seed(0)
    bert, x = LateBert(16, tokens=4, seen=1.0).eval(), torch.randn(2, 4, 16)
    inputs = []
    bert.transformer_blocks[0].register_forward_hook(lambda _, args, output: inputs.append((args[0], output)))
    with torch.no_grad():
        before = bert(x)
        bert.clsToken.add_(torch.randn(16))
        after = bert(x)
    sequence, output = inputs[0]
    assert sequence.shape == (2, 5, 16)
    assert torch.equal(before, output[:, 0])
    assert not torch.allclose(before, after, atol=1e-3)


def test_in_training_a_share_of_tokens_is_not_looked_at_but_the_class_token_always_is():
    torch.manual_seed(0)
    bert, masks = LateBert(16, tokens=50, seen=0.8), []
    bert.transformer_blocks[0].register_forward_pre_hook(lambda _, args: masks.append(args[1]))
    bert.train()(torch.randn(40, 50, 16))
    assert masks[0].shape == (40, 1, 1, 51)
    assert masks[0][..., 0].all()
    assert masks[0][..., 1:].float().mean() == pytest.approx(0.8, abs=0.04)
    bert.eval()(torch.randn(40, 50, 16))
    assert masks[1] is None


def test_tokens_are_means_over_space():
    x = torch.rand(2, 3, 4, 5, 6)
    assert torch.equal(tokens(x)[1, 2], x[1, :, 2].mean(dim=(1, 2)))


def test_rbert_reads_one_token_for_eight_frames():
    with torch.device("meta"):
        model = classifier("rbert-r2plus1d-34", 11, 60, 112)
    assert model.bert.embedding["learnedPosition"].pe.shape == (1, 9, 512)
