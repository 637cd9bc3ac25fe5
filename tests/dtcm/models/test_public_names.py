"""Public checkpoints of every family, by the names that their own projects give the weights."""

import importlib.util
import re

import pytest
import torch

from dtcm.models import create_classifier, load_pretrained
from dtcm.models.pretrained import _translated

EFFICIENT_3DCNNS = [
    (
        "mobilenet3d-v1",
        {
            "module.features.0.0.weight": (32, 3, 3, 3, 3),
            "module.features.1.conv1.weight": (32, 1, 3, 3, 3),
            "module.features.13.bn2.running_var": (1024,),
            "module.classifier.1.weight": (600, 1024),
        },
    ),
    (
        "mobilenet3d-v2",
        {
            "module.features.0.1.running_mean": (32,),
            "module.features.1.conv.3.weight": (16, 32, 1, 1, 1),
            "module.features.17.conv.6.weight": (320, 960, 1, 1, 1),
            "module.features.18.0.weight": (1280, 320, 1, 1, 1),
            "module.classifier.1.bias": (600,),
        },
    ),
    (
        "shufflenet3d-v1",
        {
            "module.conv1.0.weight": (24, 3, 3, 3, 3),
            "module.layer1.0.conv1.weight": (60, 24, 1, 1, 1),
            "module.layer2.7.conv3.weight": (480, 40, 1, 1, 1),
            "module.layer3.3.bn3.weight": (960,),
            "module.classifier.1.weight": (600, 960),
        },
    ),
    (
        "shufflenet3d-v2",
        {
            "module.conv1.1.bias": (24,),
            "module.features.0.banch1.0.weight": (24, 1, 3, 3, 3),
            "module.features.4.banch2.5.weight": (116, 116, 1, 1, 1),
            "module.features.15.banch2.6.weight": (232,),
            "module.conv_last.0.weight": (1024, 464, 1, 1, 1),
            "module.classifier.1.weight": (600, 1024),
        },
    ),
    (
        "squeezenet3d",
        {
            "module.features.0.bias": (64,),
            "module.features.4.squeeze.weight": (16, 64, 1, 1, 1),
            "module.features.14.expand3x3_bn.weight": (256,),
            "module.classifier.1.weight": (600, 512, 1, 1, 1),
            "module.classifier.1.bias": (600,),
        },
    ),
    (
        "c3d",
        {
            "module.group1.0.weight": (64, 3, 3, 3, 3),
            "module.group5.4.running_mean": (512,),
            "module.fc1.0.weight": (4096, 8192),
            "module.fc2.0.bias": (4096,),
            "module.fc.0.weight": (600, 4096),
        },
    ),
]
OTHERS = [
    (
        "i3d-rgb",
        {
            "Conv3d_1a_7x7.conv3d.weight": (64, 3, 7, 7, 7),
            "Conv3d_2c_3x3.bn.running_var": (192,),
            "Mixed_3b.b1b.conv3d.weight": (128, 96, 3, 3, 3),
            "Mixed_5c.b3b.bn.weight": (128,),
            "logits.conv3d.weight": (400, 1024, 1, 1, 1),
            "logits.conv3d.bias": (400,),
        },
    ),
    (
        "p3d-199",
        {
            "conv1_custom.weight": (64, 3, 1, 7, 7),
            "layer1.0.downsample.0.weight": (256, 64, 1, 1, 1),
            "layer2.7.conv3.weight": (128, 128, 3, 1, 1),
            "layer3.35.bn4.bias": (1024,),
            "layer4.0.conv_normal.weight": (512, 512, 3, 3),
            "fc.weight": (400, 2048),
        },
    ),
    (
        "r2plus1d-34",
        {
            "stem.3.weight": (64, 45, 3, 1, 1),
            "layer1.0.conv1.0.0.weight": (144, 64, 1, 3, 3),
            "layer1.0.conv1.1.running_mean": (64,),
            "layer2.0.conv1.0.0.weight": (230, 64, 1, 3, 3),
            "layer2.0.conv2.0.3.weight": (128, 288, 3, 1, 1),
            "layer4.0.downsample.0.weight": (512, 256, 1, 1, 1),
            "fc.weight": (359, 512),
        },
    ),
    (
        "tsn-r50",
        {
            "backbone.conv1.conv.weight": (64, 3, 7, 7),
            "backbone.layer1.0.conv1.conv.weight": (64, 64, 1, 1),
            "backbone.layer4.0.downsample.bn.weight": (2048,),
            "cls_head.fc_cls.weight": (400, 2048),
        },
    ),
    (
        "tsm-r50",
        {
            "backbone.conv1.bn.running_mean": (64,),
            "backbone.layer1.0.conv1.conv.net.weight": (64, 64, 1, 1),
            "backbone.layer3.5.conv2.conv.weight": (256, 256, 3, 3),
            "cls_head.fc_cls.bias": (400,),
        },
    ),
    (
        "tin-r50",
        {
            "backbone.layer1.0.conv1.conv.net1.offset_net.conv.weight": (1, 16, 3),
            "backbone.layer1.0.conv1.conv.net1.offset_net.fc1.weight": (8, 8),
            "backbone.layer1.0.conv1.conv.net1.offset_net.fc2.bias": (2,),
            "backbone.layer4.2.conv1.conv.net1.weight_net.conv.weight": (2, 512, 3),
            "backbone.layer4.2.conv1.conv.net2.weight": (512, 2048, 1, 1),
            "cls_head.fc_cls.weight": (174, 2048),
        },
    ),
    (
        "slowfast-r50",
        {
            "backbone.slow_path.conv1.conv.weight": (64, 3, 1, 7, 7),
            "backbone.slow_path.conv1_lateral.conv.weight": (16, 8, 7, 1, 1),
            "backbone.slow_path.layer3_lateral.bn.weight": (256,),
            "backbone.slow_path.layer4.0.conv1.conv.weight": (512, 1280, 3, 1, 1),
            "backbone.fast_path.conv1.conv.weight": (8, 3, 5, 7, 7),
            "backbone.fast_path.layer4.2.conv3.bn.bias": (256,),
            "cls_head.fc_cls.weight": (400, 2304),
        },
    ),
    (
        "rbert-r2plus1d-34",
        {
            "features.0.0.weight": (45, 3, 1, 7, 7),
            "features.4.2.conv2.0.3.weight": (512, 1152, 3, 1, 1),
            "bert.clsToken": (1, 1, 512),
            "bert.embedding.learnedPosition.pe": (1, 3, 512),
            "bert.transformer_blocks.0.attention.linear_layers.2.weight": (512, 512),
            "bert.transformer_blocks.0.feed_forward.w_1.weight": (2048, 512),
            "bert.transformer_blocks.0.input_sublayer.norm.a_2": (512,),
            "fc_action.weight": (51, 512),
        },
    ),
    (
        "darklight-r2plus1d-34",
        {
            "features.0.4.running_mean": (64,),
            "self_attention.embedding.learnedPosition.pe": (1, 5, 512),
            "self_attention.transformer_blocks.0.attention.output_linear.bias": (512,),
            "fc_action.weight": (12, 512),
        },
    ),
]


def on_meta(name, num_classes=11):
    with torch.device("meta"):
        return create_classifier(name, num_classes, 16, 112)


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
@pytest.mark.parametrize(
    ("name", "shapes"), EFFICIENT_3DCNNS + OTHERS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_public_names_and_shapes_load_but_for_a_head_of_other_classes(tmp_path, name, shapes):
    weights = {key: torch.zeros(shape) for key, shape in shapes.items()}
    torch.save({"epoch": 1, "arch": name, "state_dict": weights}, tmp_path / "weights.pth")
    report = load_pretrained(on_meta(name), tmp_path / "weights.pth")
    names = {key.removeprefix("module.") for key in shapes}
    head = {
        key for key in names if re.search(r"^(classifier\.1|fc\.0|fc|logits\.conv3d|cls_head\.fc_cls|fc_action)\.", key)
    }
    assert set(report.replaced) == head
    assert set(report.loaded) == names - head
    assert report.unexpected == ()


def hassony2(name):
    """kinetics_i3d_pytorch's name for one of pytorch-i3d's."""
    name = name.replace("logits.conv3d", "conv3d_0c_1x1.conv3d").replace(".bn.", ".batch3d.")
    name = re.sub(r"^(Conv3d|Mixed)", lambda found: found[0].lower(), name)
    for ours, theirs in (("b0", "0"), ("b1a", "1.0"), ("b1b", "1.1"), ("b2a", "2.0"), ("b2b", "2.1"), ("b3b", "3.1")):
        name = name.replace(f".{ours}.", f".branch_{theirs}.")
    return name


def torchvisions_resnet(name):
    """torchvision's name for one of MMAction2's TSM's or TIN's, without what TIN adds."""
    name = (
        name.removeprefix("backbone.")
        .replace("conv1.conv.net2.", "conv1.conv.")
        .replace("conv1.conv.net.", "conv1.conv.")
    )
    name = (
        name.replace("cls_head.fc_cls", "fc")
        .replace("downsample.conv", "downsample.0")
        .replace("downsample.bn", "downsample.1")
    )
    return re.sub(r"conv(\d)\.bn", r"bn\1", re.sub(r"conv(\d)\.conv", r"conv\1", name))


def r2plus1d(name):
    """The name within R(2+1)D for one behind "features."."""
    return re.sub(
        r"^features\.(\d)", lambda found: ("stem", "layer1", "layer2", "layer3", "layer4")[int(found[1])], name
    )


def resnext(name):
    """The name within 3D-ResNeXt for one behind "features."."""
    parts = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
    return re.sub(r"^features\.(\d)", lambda found: parts[found[1]], name)


@pytest.mark.parametrize(
    ("name", "theirs", "only"),
    [
        ("i3d-rgb", hassony2, ""),
        ("i3d-flow", hassony2, ""),
        ("tsn-r50", torchvisions_resnet, ""),
        ("tsm-r50", torchvisions_resnet, ""),
        ("tin-r50", torchvisions_resnet, r"^(?!.*net1)"),
        ("tsm-r50", lambda name: name.replace(".net.", "."), ""),  # TSN's
        ("tin-r50", lambda name: name.replace(".net2.", "."), r"^(?!.*net1)"),
        ("tin-r50", lambda name: name.replace(".net2.", ".net."), r"^(?!.*net1)"),  # TSM's
        ("rbert-r2plus1d-34", r2plus1d, r"^features\."),
        ("darklight-r2plus1d-34", r2plus1d, r"^features\."),
        ("darklight-resnext3d-101", resnext, r"^features\."),
    ],
)
def test_every_name_of_other_namings_is_translated(name, theirs, only):
    if name == "i3d-flow":
        pytest.importorskip("cv2")
    module = on_meta(name)
    ours = module.state_dict()
    checked = [key for key in ours if re.search(only, key)]
    assert {key: _translated(theirs(key), module, ours) for key in checked} == {key: key for key in checked}
    assert len(checked) > 100


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
@pytest.mark.parametrize(
    ("name", "shapes", "loaded"),
    [
        ("s3d", {"features.0.0.0.weight": (64, 3, 1, 7, 7)}, "body.features.0.0.0.weight"),
        ("video-swin-b", {"patch_embed.proj.weight": (128, 3, 2, 4, 4)}, "body.patch_embed.proj.weight"),
        ("timesformer-l", {"timesformer.embeddings.cls_token": (1, 1, 768)}, "body.timesformer.embeddings.cls_token"),
        ("videomae-b", {"videomae.encoder.layer.0.layernorm_before.weight": (768,)}, None),
        (
            "videomae-b",
            {"videomae.encoder.layer.3.attention.attention.q_bias": (768,)},
            "body.videomae.encoder.layer.3.attention.attention.query.bias",
        ),
        ("vjepa2-l", {"vjepa2.encoder.layer.0.norm1.weight": (1024,)}, None),
        ("vjepa2-l", {"encoder.layer.0.norm1.weight": (1024,)}, "body.vjepa2.encoder.layer.0.norm1.weight"),
    ],
)
def test_files_of_other_libraries_load_under_their_own_names(tmp_path, name, shapes, loaded):
    if any(importlib.util.find_spec(library) is None for library in ("torchvision", "transformers")):
        pytest.skip("torchvision and transformers are not both installed")
    torch.save({key: torch.zeros(shape) for key, shape in shapes.items()}, tmp_path / "weights.pth")
    report = load_pretrained(on_meta(name), tmp_path / "weights.pth")
    assert report.loaded == (loaded or f"body.{next(iter(shapes))}",)
    assert report.unexpected == ()


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
def test_a_stream_of_two_takes_a_file_of_its_own_and_a_file_of_both_may_have_other_classes(tmp_path):
    pytest.importorskip("cv2")
    module = on_meta("i3d-two-stream")
    torch.save({"Conv3d_1a_7x7.conv3d.weight": torch.zeros(64, 2, 7, 7, 7)}, tmp_path / "flow.pt")
    assert load_pretrained(module.flow, tmp_path / "flow.pt").loaded == ("Conv3d_1a_7x7.conv3d.weight",)
    both = {
        f"{stream}.{key}": tensor
        for stream, channels in (("rgb", 3), ("flow", 2))
        for key, tensor in {
            "Conv3d_1a_7x7.conv3d.weight": torch.zeros(64, channels, 7, 7, 7),
            "logits.conv3d.bias": torch.zeros(400),
        }.items()
    }
    torch.save(both, tmp_path / "both.pt")
    report = load_pretrained(module, tmp_path / "both.pt")
    assert report.loaded == ("rgb.Conv3d_1a_7x7.conv3d.weight", "flow.Conv3d_1a_7x7.conv3d.weight")
    assert report.replaced == ("rgb.logits.conv3d.bias", "flow.logits.conv3d.bias")


def test_the_weights_of_an_efficient_3dcnn_are_what_the_model_computes_with(tmp_path):
    torch.manual_seed(0)
    public, model = (create_classifier("squeezenet3d", classes, 16, 64) for classes in (600, 5))
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in public.state_dict().items()}}, tmp_path / "k.pth"
    )
    report = load_pretrained(model, tmp_path / "k.pth")
    assert report.replaced == ("classifier.1.weight", "classifier.1.bias")
    assert report.missing == report.unexpected == ()
    clip = torch.rand(1, 3, 16, 64, 64)

    def features(of):
        return of.eval().get_submodule("features")(clip)

    with torch.no_grad():
        assert torch.equal(features(model), features(public))
