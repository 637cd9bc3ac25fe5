"""SlowFast's two pathways, and what flows between them."""

import torch

from dtcm.models import create_classifier


def classifier(name, *args):
    return create_classifier(name, *args)


def test_pathways_and_lateral_connections_have_the_published_shapes():
    with torch.device("meta"):
        model = classifier("slowfast-r50", 48, 64, 224)
    shapes = {}
    stages = ("conv1", "layer1", "layer2", "layer3", "layer4")
    names = [f"{path}_path.{stage}" for path in ("slow", "fast") for stage in stages]
    names += [f"slow_path.{stage}_lateral" for stage in stages[:-1]]
    for name in names:
        module = model.backbone.get_submodule(name)
        module.register_forward_hook(lambda _, __, output, name=name: shapes.update({name: tuple(output.shape[1:])}))
    assert model(torch.empty(2, 3, 64, 224, 224, device="meta")).shape == (2, 48)
    sides = (56, 56, 28, 14, 7)
    widths = (64, 256, 512, 1024, 2048)
    assert [shapes[f"slow_path.{stage}"] for stage in stages] == [
        (width, 16, side, side) for width, side in zip(widths, sides, strict=True)
    ]
    assert [shapes[f"fast_path.{stage}"] for stage in stages] == [
        (width // 8, 64, side, side) for width, side in zip(widths, sides, strict=True)
    ]
    assert [shapes[f"slow_path.{stage}_lateral"] for stage in stages[:-1]] == [
        (width // 4, 16, side, side) for width, side in zip(widths[:-1], sides[:-1], strict=True)
    ]


def test_the_slow_pathway_convolves_in_time_in_its_last_two_stages_only():
    with torch.device("meta"):
        model = classifier("slowfast-r50", 5, 16, 64)
    kernels = {
        path: [model.backbone[path].get_submodule(f"layer{i}")[0].conv1.conv.kernel_size[0] for i in (1, 2, 3, 4)]
        for path in ("slow_path", "fast_path")
    }
    assert kernels == {"slow_path": [1, 1, 3, 3], "fast_path": [3, 3, 3, 3]}


def test_the_slow_pathway_sees_every_fourth_frame_and_the_head_reads_the_fast_features_first():
    torch.manual_seed(0)
    model = classifier("slowfast-r50", 3, 8, 32).eval()
    seen = {}
    for path in ("slow_path", "fast_path"):
        stem = model.backbone[path].conv1
        stem.register_forward_pre_hook(lambda _, args, path=path: seen.update({path: args[0]}))
    clip = torch.rand(1, 3, 8, 32, 32)
    with torch.no_grad():
        logits = model(clip)
        slow, fast = model.features(model.normalize(clip))
    assert torch.equal(seen["slow_path"], seen["fast_path"][:, :, [0, 4]])
    head = model.cls_head["fc_cls"]
    expected = fast.mean(dim=(2, 3, 4)) @ head.weight[:, :256].T + slow.mean(dim=(2, 3, 4)) @ head.weight[:, 256:].T
    torch.testing.assert_close(logits, expected + head.bias, rtol=1e-3, atol=1e-4)


def test_what_only_the_fast_pathway_sees_reaches_the_slow_one():
    torch.manual_seed(0)
    model = classifier("slowfast-r50", 3, 8, 32).eval()
    clip = torch.rand(1, 3, 8, 32, 32)
    other = clip.clone()
    other[:, :, 2] = 0
    with torch.no_grad():
        assert (model.features(clip)[0] - model.features(other)[0]).abs().max() > 1e-3
