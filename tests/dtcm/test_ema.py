import pytest
import torch
from torch import nn

from dtcm import checkpoint, ema


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def steps(model, optimizer, average, numbers):
    for number in numbers:
        optimizer.zero_grad()
        model(torch.randn(5, 4, generator=torch.Generator().manual_seed(number))).square().sum().backward()
        optimizer.step()
        ema.update(average, model, number, decay=0.6)


def test_an_average_by_hand():
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 8.0)
    average = ema.averaged(model)
    found = []
    for step, weight in ((1, 0.0), (2, 11.0), (1000, 1.0)):
        nn.init.constant_(model.weight, weight)
        ema.update(average, model, step, decay=0.75)
        found.append(average.weight.item())
    # d = 1/10: 0.1 * 8; then d = 2/11: 2/11 * 0.8 + 9/11 * 11; then d = 0.75, since 1000/1009 is more.
    expected = [0.8, 2 / 11 * 0.8 + 9]
    assert found == pytest.approx([*expected, 0.75 * expected[1] + 0.25])


def test_batch_statistics_are_averaged_and_their_counter_copied():
    model = network()
    average = ema.averaged(model)
    model.train()(torch.randn(5, 4) + 3)
    ema.update(average, model, 1, decay=0.9)
    assert torch.allclose(average[1].running_mean, 0.9 * model[1].running_mean)
    assert average[1].num_batches_tracked == model[1].num_batches_tracked == 1


def test_an_average_takes_no_part_in_training():
    model = network().train()
    average = ema.averaged(model)
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert not average.training
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    before = {name: value.clone() for name, value in average.state_dict().items()}
    model(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in average.state_dict().items())


def test_a_training_with_an_average_goes_on_bit_for_bit_from_a_checkpoint():
    model = network()
    average, optimizer = ema.averaged(model), torch.optim.AdamW(model.parameters(), lr=0.1)
    steps(model, optimizer, average, [1, 2])
    files = checkpoint.pack(model, optimizer, {"step": 2}, average)
    steps(model, optimizer, average, [3, 4])

    other = network()
    other_average, other_optimizer = ema.averaged(other), torch.optim.AdamW(other.parameters(), lr=0.1)
    assert checkpoint.unpack(files, other, other_optimizer, other_average) == {"step": 2}
    steps(other, other_optimizer, other_average, [3, 4])
    for pair in ((model, other), (average, other_average)):
        assert all(torch.equal(*values) for values in zip(*(p.state_dict().values() for p in pair), strict=True))


def test_what_is_tested_and_kept_is_the_average_where_there_is_one():
    model = network()
    average, optimizer = ema.averaged(model), torch.optim.AdamW(model.parameters())
    nn.init.zeros_(average[0].weight)
    assert checkpoint.AVERAGE not in checkpoint.pack(model, optimizer, {})
    assert checkpoint.weights_to_use(checkpoint.pack(model, optimizer, {})) == checkpoint.pack_weights(model)
    assert checkpoint.weights_to_use(checkpoint.pack(model, optimizer, {}, average)) == checkpoint.pack_weights(average)
