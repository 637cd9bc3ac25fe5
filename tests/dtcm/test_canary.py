"""The canary refuses what is wrong, picks what is fastest, and leaves the run as it is."""

import pytest
import torch

from dtcm import canary
from dtcm.config import DataConfig, Experiment, LossConfig, ModelConfig, OptimConfig, with_overrides
from dtcm.errors import BadInput
from dtcm.execution import PLAIN, Execution, prepared
from dtcm.models import build
from dtcm.options import check_training
from dtcm.step import make_optimizer, predict, train_step

CPU = torch.device("cpu")
BF16, LAST = Execution("bf16"), Execution(memory_format="channels-last")
EXPERIMENT = Experiment(
    data=DataConfig(frames=4, crop_px=16), model=ModelConfig(classifier="small3d"), optim=OptimConfig(batch=2)
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build(EXPERIMENT.model, 3, 4, 16)


@pytest.fixture
def times(monkeypatch):
    """Lets a test say how long a step takes and what the first one gives, by the way it is computed."""

    def planted(**found):
        def steps(*arguments):
            found_here = found[str(arguments[-1]).replace(" ", "_").replace("-", "_")]
            if isinstance(found_here, Exception):
                raise found_here
            seconds, total = found_here
            return canary._Steps({"total": total, "grad_norm": 1.0}, seconds)

        monkeypatch.setattr(canary, "_ways", lambda *_: [PLAIN, BF16, LAST])
        monkeypatch.setattr(canary, "_steps", steps)

    return planted


def asked(**optim):
    return with_overrides(EXPERIMENT, {f"optim.{name}": value for name, value in optim.items()})


def test_a_cpu_computes_plainly_and_measures_nothing(model, monkeypatch):
    monkeypatch.setattr(canary, "_steps", None)
    assert canary.choose(model, EXPERIMENT, CPU).execution == PLAIN


def test_what_is_asked_for_is_tried_on_a_copy_and_leaves_no_trace(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    choice = canary.choose(model, asked(precision="bf16", memory_format="channels-last"), CPU)
    assert choice.execution == Execution("bf16", "channels-last")
    assert "fp32 contiguous" in choice.why  # what it was held against
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("harm", [lambda y: 1.1 * y, lambda y: y * torch.nan, lambda y: y.roll(1, dims=-1)])
def test_a_convolution_that_is_wrong_in_bfloat16_forbids_it(model, monkeypatch, harm):
    right = canary.conv3d

    def broken(*arguments):
        y = right(*arguments)
        return harm(y) if y.dtype == torch.bfloat16 else y

    monkeypatch.setattr(canary, "conv3d", broken)
    with pytest.raises(BadInput, match=r"bf16 contiguous refused: Conv3d of .* is off by"):
        canary.choose(model, asked(precision="bf16"), CPU)
    resumed = canary.choose(model, EXPERIMENT, CPU, before=BF16)
    assert resumed.execution == PLAIN
    assert "the run began with bf16 contiguous, refused now: Conv3d" in resumed.why


def test_a_wrong_gradient_is_seen_too(model, monkeypatch):
    class Halved(torch.autograd.Function):
        @staticmethod
        def forward(ctx, y):
            return y.clone()

        @staticmethod
        def backward(ctx, *gradients):
            return gradients[0] / 2

    right = canary.conv3d
    monkeypatch.setattr(canary, "conv3d", lambda *a: Halved.apply(y) if (y := right(*a)).dtype == torch.bfloat16 else y)
    with pytest.raises(BadInput, match=r"is off by 0\.5"):
        canary.choose(model, asked(precision="bf16"), CPU)


def test_the_fastest_right_way_is_chosen_and_said(model, times):
    times(fp32_contiguous=(0.3, 5.0), bf16_contiguous=(0.1, 5.1), fp32_channels_last=(0.2, 5.0))
    choice = canary.choose(model, EXPERIMENT, CPU)
    assert choice.execution == BF16
    assert "fp32 contiguous 300 ms; bf16 contiguous 100 ms; fp32 channels-last 200 ms" in choice.why


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ((0.1, 7.0), "total is 7, plainly computed 5"),
        ((0.1, float("nan")), "total is nan"),
        (torch.OutOfMemoryError("CUDA out of memory.\nTried"), "CUDA out of memory."),
    ],
)
def test_a_faster_way_with_another_loss_or_without_memory_is_refused(model, times, found, reason):
    times(fp32_contiguous=(0.3, 5.0), bf16_contiguous=found, fp32_channels_last=(0.2, 5.0))
    choice = canary.choose(model, EXPERIMENT, CPU)
    assert choice.execution == LAST
    assert f"bf16 contiguous refused: {reason}" in choice.why if "total" not in reason else reason in choice.why


def test_on_a_gpu_every_way_is_timed_and_the_fastest_of_them_is_compiled(model, monkeypatch):
    ways = {"fp32 contiguous": 0.4, "fp32 channels-last": 0.3, "bf16 contiguous": 0.2, "bf16 channels-last": 0.1}
    times, timed = ways | {"bf16 channels-last compiled": 0.05}, []

    def steps(*arguments):
        timed.append(str(arguments[-1]))
        return canary._Steps({"total": 5.0, "grad_norm": 1.0}, times[timed[-1]])

    monkeypatch.setattr(canary, "_wrong", lambda *_: "")
    monkeypatch.setattr(canary, "_steps", steps)
    choice = canary.choose(model, EXPERIMENT, torch.device("cuda"))  # nothing is computed there
    assert timed == list(times)
    assert choice.execution == Execution("bf16", "channels-last", compile=True)


def test_a_resumed_run_keeps_its_way(model, times):
    times()  # nothing is timed
    assert canary.choose(model, EXPERIMENT, CPU, before=BF16).execution == BF16


@pytest.mark.parametrize(
    ("cudnn", "memory_format", "bad"),
    [
        ((9, 7), "contiguous", False),
        ((9, 8), "contiguous", True),  # without cuDNN
        ((9, 14), "contiguous", True),
        ((9, 15), "contiguous", False),
        ((9, 10), "channels-last", False),  # with cuDNN: held against float32 like any other
    ],
)
def test_versions_known_to_be_bad(cudnn, memory_format, bad):
    way = Execution("bf16", memory_format)
    assert any(applies(cudnn, way) for applies in canary.KNOWN_BAD.values()) == bad


def test_a_version_known_to_be_bad_forbids_bfloat16_before_a_gpu_is_touched(model, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(canary, "cudnn_version", lambda: (9, 10))
    gpu = torch.device("cuda")  # of which this machine may have none
    assert "9.8 to 9.14" in canary._wrong(model, EXPERIMENT, gpu, 1, BF16)


@pytest.mark.parametrize(("number", "cudnn"), [(91002, (9, 10)), (90800, (9, 8)), (8902, (8, 9)), (None, (0, 0))])
def test_versions_are_read_as_they_are_written(monkeypatch, number, cudnn):
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: number)
    assert canary.cudnn_version() == cudnn


def test_on_a_gpu_the_plain_way_too_is_held_against_exact_float32(model, monkeypatch):
    """There torch computes its convolutions in TF32, and kernels for that have been wrong."""
    monkeypatch.setattr(canary, "_error", lambda *_: 0.5)
    assert "is off by 0.5" in canary._wrong(model, EXPERIMENT, torch.device("cuda"), 1, PLAIN)
    assert canary._wrong(model, EXPERIMENT, CPU, 1, PLAIN) == ""


def test_what_float32_is_held_against_is_not_tf32(monkeypatch):
    seen, right = [], canary.conv3d
    monkeypatch.setattr(canary, "conv3d", lambda *a: (seen.append(torch.backends.cudnn.allow_tf32), right(*a))[1])
    found = canary._Convolution(torch.Size((1, 2, 3, 4, 4)), torch.Size((2, 2, 3, 3, 3)), 1, 1, 1, 1)
    assert canary._error(found, CPU, BF16) < canary.CONV_ERROR
    assert seen == [False, True]
    assert torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.enabled


def test_masks_of_dropout_refuse_no_way(monkeypatch):
    """Two trials that draw other masks: with them the first losses would differ by a quarter."""
    experiment = with_overrides(EXPERIMENT, {"model.classifier": "i3d-rgb", "data.frames": 16, "data.crop_px": 32})
    torch.manual_seed(0)
    model = build(experiment.model, 3, 16, 32)
    assert any(isinstance(layer, torch.nn.Dropout) for layer in model.modules())
    monkeypatch.setattr(canary, "STEPS", 1)
    firsts = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        firsts.append(canary._steps(model, experiment, CPU, 1, PLAIN).first)
    assert firsts[0] == pytest.approx(firsts[1], rel=1e-5)


def test_every_convolution_is_checked_in_its_shape_within_the_step(model):
    shapes = [tuple(found.input) for found in canary._convolutions(model, asked(batch=8, accumulate=2), workers=2)]
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Conv3d)]
    assert len(shapes) == len(layers)
    assert shapes[0] == (2, 6, 4, 16, 16)  # eight clips, by two workers in two parts


@pytest.mark.parametrize("execution", [BF16, LAST], ids=str)
def test_a_step_follows_the_choice(model, execution):
    """Near the plain step, and not it."""
    clips = torch.randint(0, 64, (2, 4, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 2])
    plain = predict(model.eval(), clips).logits
    layouts = []
    model.classifier.register_forward_pre_hook(lambda _, inputs: layouts.append(inputs[0]))
    prepared(model, execution)
    model.classifier.register_forward_pre_hook(lambda _, inputs: layouts.append(inputs[0]))
    found = predict(model, clips, execution).logits
    torch.testing.assert_close(found, plain, rtol=0.05, atol=0.05)
    if execution.precision == "bf16":
        assert not torch.equal(found, plain)
    last = layouts[1].is_contiguous(memory_format=torch.channels_last_3d)
    assert last == (execution.memory_format == "channels-last")
    parts = train_step(
        model.train(), make_optimizer(model, OptimConfig()), clips, labels, LossConfig(), execution=execution
    )
    assert parts["total"] > 0
    assert all(parameter.grad.is_contiguous() for parameter in model.classifier.parameters())


@pytest.mark.slow
def test_the_compiled_step_is_right(model):
    choice = canary.choose(model, asked(compile="on"), CPU)
    assert choice.execution == Execution(compile=True)


@pytest.mark.parametrize(
    ("changes", "workers"), [({}, 2), ({"optim.checkpointing": True}, 1), ({"loss.supcon": 0.5}, 1)]
)
def test_the_compiler_is_refused_where_it_would_compute_something_else(changes, workers):
    experiment = with_overrides(EXPERIMENT, {"optim.compile": "on", **changes})
    with pytest.raises(BadInput, match=r"--experiment\.optim\.compile must be auto or off"):
        check_training(experiment, workers)
