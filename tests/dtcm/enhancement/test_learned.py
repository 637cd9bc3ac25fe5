"""Learned methods: public weights, and what their networks compute against numpy, scipy and TensorFlow."""

import numpy as np
import pytest
import torch
from scipy.signal import correlate
from torch.nn.functional import conv2d, interpolate, max_pool2d

from dtcm.enhancement import SCI, KinD, LLNet, StableLLVE, kind
from dtcm.errors import BadInput
from dtcm.models import create_enhancer, load_pretrained
from dtcm.models.frozen import create


def convolved(x_CHW, weight, bias):
    padded = np.pad(x_CHW, ((0, 0), (1, 1), (1, 1)))
    return np.stack([correlate(padded, w, mode="valid")[0] + b for w, b in zip(weight, bias, strict=True)])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("file", ["easy.pt", "medium.pt", "difficult.pt"])
def test_public_sci_weights_load_and_give_what_their_tensors_say(reference, dark_clip, file):
    path = reference / "reference" / "weights" / file
    sci = SCI().requires_grad_(False).eval()
    report = load_pretrained(sci, path)
    assert report.missing == report.replaced == ()
    assert {name.split(".")[0] for name in report.unexpected if "enhance.conv." not in name} == {"calibrate"}

    tensors = torch.load(path, map_location="cpu", weights_only=True)
    raw = {name: value.double().numpy() for name, value in tensors.items()}
    x = dark_clip[1, :, 0].double().numpy()
    layer = {name: [raw[f"enhance.{name}.{leaf}"] for leaf in ("weight", "bias")] for name in ("in_conv.0", "conv.0")}
    first = np.maximum(convolved(x, *layer["in_conv.0"]), 0)
    mean, variance, scale, shift = (
        raw[f"enhance.conv.1.{leaf}"][:, None, None] for leaf in ("running_mean", "running_var", "weight", "bias")
    )
    normalised = (convolved(first, *layer["conv.0"]) - mean) / np.sqrt(variance + 1e-5) * scale + shift
    last = convolved(
        first + np.maximum(normalised, 0), raw["enhance.out_conv.0.weight"], raw["enhance.out_conv.0.bias"]
    )
    illumination = np.clip(sigmoid(last) + x, 1e-4, 1)
    np.testing.assert_allclose(sci(dark_clip)[1, :, 0], np.clip(x / illumination, 0, 1), atol=1e-6)


def test_public_zero_dce_gives_every_frame_its_own_curve(reference, dark_clip):
    path = reference / "reference" / "weights" / "zero_dce_Epoch99.pth"
    enhancer, dark = create_enhancer("zero-dce"), dark_clip[:, :, :2, :16, :16]
    load_pretrained(enhancer, path)
    with torch.no_grad():
        expected = enhancer(dark, k=1).clip
    torch.testing.assert_close(create("zero-dce", str(path))(dark), expected)


def test_stable_llve_is_the_public_u_net_which_sees_blue_first(dark_clip):
    torch.manual_seed(0)
    net = StableLLVE().requires_grad_(False).eval()
    state = net.state_dict()
    blocks = {"inc.double_conv": (3, 32, 32), "down1.maxpool_conv.1.double_conv": (32, 64, 64)}
    blocks |= {f"down{i}.maxpool_conv.1.double_conv": (c, d, d) for i, c, d in ((2, 64, 128), (3, 128, 256))}
    blocks |= {"down4.maxpool_conv.1.double_conv": (256, 256, 256)}
    blocks |= {f"up{i}.conv.double_conv": (2**c, 2 ** (c - 1), 2 ** (c - 2)) for i, c in ((1, 9), (2, 8), (3, 7))}
    blocks |= {"up4.conv.double_conv": (64, 32, 32)}
    shapes = {"outc.conv.weight": (32, 3)}
    for block, (a, b, c) in blocks.items():
        shapes |= {f"{block}.0.weight": (a, b), f"{block}.2.weight": (b, c)}
    assert {name: (v.shape[1], v.shape[0]) for name, v in state.items() if name.endswith("weight")} == shapes

    def twice(x, block):
        for index in (0, 2):
            name = f"{block}.double_conv.{index}"
            x = conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1).relu()
        return x

    bgr = dark_clip[:, :, 0, :32, :48].flip(1)  # sizes that halve four times
    skips = [twice(bgr, "inc")]
    for level in range(1, 5):
        skips.append(twice(max_pool2d(skips[-1], 2), f"down{level}.maxpool_conv.1"))
    x = skips.pop()
    for level in range(1, 5):
        x = interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        x = twice(torch.cat([skips.pop(), x], dim=1), f"up{level}.conv")
    expected = conv2d(x, state["outc.conv.weight"], state["outc.conv.bias"]).flip(1).clamp(0, 1)
    torch.testing.assert_close(net(dark_clip[:, :, :1, :32, :48])[:, :, 0], expected)
    assert net(dark_clip[:, :, :1, :37, :49]).shape == (2, 3, 1, 37, 49)


def kind_variables():
    """TensorFlow's variables of KinD from seed 0, in the order in which its graph makes them."""
    rng = np.random.default_rng(0)
    variables = {}

    def conv(name, channels, out_channels, side):
        weights = rng.normal(size=(side, side, channels, out_channels)) * np.sqrt(2 / (side * side * channels))
        variables[f"{name}/weights"] = weights
        variables[f"{name}/biases"] = rng.normal(size=out_channels) * 0.1

    def up(name, channels):
        variables[f"{name}/weights"] = rng.normal(size=(2, 2, channels // 2, channels)) * np.sqrt(1 / channels)

    for name, channels, out_channels in (("g_conv1_1", 3, 32), ("g_conv2_1", 32, 64), ("g_conv3_1", 64, 128)):
        conv(f"DecomNet/{name}", channels, out_channels, 3)
    for level, channels in ((1, 128), (2, 64)):
        up(f"DecomNet/g_up_{level}", channels)
        conv(f"DecomNet/g_conv{7 + level}_1", channels, channels // 2, 3)
    conv("DecomNet/g_conv10", 32, 3, 1)
    conv("DecomNet/l_conv1_2", 32, 32, 3)
    conv("DecomNet/l_conv1_4", 64, 1, 1)
    channels = 4
    for level, out_channels in enumerate((32, 64, 128, 256, 512), start=1):
        conv(f"Restoration_net/de_conv{level}_1", channels, out_channels, 3)
        conv(f"Restoration_net/de_conv{level}_2", out_channels, out_channels, 3)
        channels = out_channels
    for level, channels in enumerate((512, 256, 128, 64), start=6):
        up(f"Restoration_net/up_{level}", channels)
        conv(f"Restoration_net/de_conv{level}_1", channels, channels // 2, 3)
        conv(f"Restoration_net/de_conv{level}_2", channels // 2, channels // 2, 3)
    conv("Restoration_net/de_conv10", 32, 3, 3)
    for level, (channels, out_channels) in enumerate(((2, 32), (32, 32), (32, 32), (32, 1)), start=1):
        conv(f"Illumination_adjust_net/en_conv_{level}", channels, out_channels, 3)
    frames = torch.from_numpy(rng.random((2, 37, 50, 3)) * 0.2).float().permute(0, 3, 1, 2)
    return {name: torch.from_numpy(value).float() for name, value in variables.items()}, frames


SAMPLES = ((0, 0, 0, 0), (0, 20, 31, 1), (1, 36, 49, 2), (1, 36, 0, 0), (0, 7, 49, 1))
TENSORFLOW = {
    "reflectance": (0.487703, 0.578183, 0.483862, 0.479236, 0.487939),
    "illumination": (0.524997, 0.657128, 0.584844, 0.546134, 0.579049),
    "restored": (0.525342, 0.836611, 0.449621, 0.561439, 0.55224),
    "raised": (0.364628, 0.268835, 0.323718, 0.363681, 0.33726),
}
"""What TensorFlow 2.21 computed at SAMPLES (frame, row, column, channel) by the authors' graph on odd sizes."""


def test_kind_computes_what_its_tensorflow_graph_does(tmp_path, monkeypatch):
    variables, frames = kind_variables()
    (tmp_path / "decom").mkdir()
    (tmp_path / "decom" / "model.ckpt.index").touch()
    monkeypatch.setattr(kind, "read_checkpoint", lambda prefix: {"Restoration_net/up_6/weights/Adam": 0} | variables)
    net = create("kind", str(tmp_path))
    assert isinstance(net, KinD)
    with torch.no_grad():
        reflectance, illumination = net.DecomNet(frames)
        restored = net.Restoration_net(reflectance, illumination)
        raised = net.Illumination_adjust_net(illumination, torch.full_like(illumination, 5))
    parts = {"reflectance": reflectance, "illumination": illumination, "restored": restored, "raised": raised}
    for name, part in parts.items():
        values = [part[n, c % part.shape[1], i, j].item() for n, i, j, c in SAMPLES]
        assert values == pytest.approx(TENSORFLOW[name], abs=5e-6), name


def test_kind_refuses_checkpoints_that_lack_a_network_or_are_of_another(tmp_path, monkeypatch):
    with pytest.raises(BadInput, match="hold no DecomNet/g_conv1_1/weights"):
        create("kind", str(tmp_path))
    variables, _ = kind_variables()
    (tmp_path / "model.ckpt.index").touch()
    monkeypatch.setattr(kind, "read_checkpoint", lambda prefix: variables)
    variables["DecomNet/g_conv10/weights"] = torch.zeros(3, 3, 32, 3)
    with pytest.raises(BadInput, match=r"g_conv10/weights is \[3, 32, 3, 3\] where KinD has \[3, 32, 1, 1\]"):
        create("kind", str(tmp_path))


@pytest.mark.parametrize("size", [(20, 26), (21, 25), (9, 18)])
def test_llnet_averages_its_patches(size):
    torch.manual_seed(0)
    net = LLNet(hidden=(7, 5)).requires_grad_(False)
    parameters = [parameter.double().numpy() for parameter in net.parameters()]
    frame = torch.rand(3, *size)
    height, width = (max(17, 17 + -(-(n - 17) // 3) * 3) for n in size)  # patches every 3 px, up to the border
    x = np.pad(frame.double().numpy(), ((0, 0), (0, height - size[0]), (0, width - size[1])), mode="edge")
    total, count = np.zeros_like(x), np.zeros_like(x)
    for i in range(0, height - 16, 3):
        for j in range(0, width - 16, 3):
            values = x[:, i : i + 17, j : j + 17].ravel()
            for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
                values = sigmoid(weight @ values + bias)
            total[:, i : i + 17, j : j + 17] += values.reshape(3, 17, 17)
            count[:, i : i + 17, j : j + 17] += 1
    expected = (total / count)[:, : size[0], : size[1]]
    np.testing.assert_allclose(net(frame[None, :, None])[0, :, 0], expected, atol=1e-6)
