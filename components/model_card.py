"""What a registered version says of itself: where it comes from by hash, and a model card (Mitchell et al., 2019)."""

import hashlib
import importlib.metadata
import json
from collections import Counter

from components.runs import Run, manifest_sha256
from dtcm import config
from dtcm.bundle import WEIGHTS

HASHES = ("config_sha256", "manifest_sha256", "weights_sha256", "environment_sha256")
LINEAGE = ("run", "git_commit", "git_dirty", *HASHES)
"""Tags of a version by which everything that made it is found again."""


def environment_lock() -> str:
    """Every installed package with its version, a line each, as `pip install -r` reads them.

    This one is left out: no index has it, and the commit tells which it was.
    """
    found = {(str(each.name).lower(), each.version) for each in importlib.metadata.distributions()}
    found = {(name, version) for name, version in found if name != "dtcm"}
    return "".join(f"{name}=={version}\n" for name, version in sorted(found))


def lineage(run: Run, files: dict[str, bytes], lock: str) -> dict[str, str]:
    """The values of LINEAGE for a bundle that a run made."""
    environment = json.loads(run.folder.read("environment.json"))
    return {
        "run": run.folder.uri,
        "git_commit": str(environment["git_commit"]),
        "git_dirty": str(environment["git_dirty"]),
        "config_sha256": config.sha256(run.experiment),
        "manifest_sha256": manifest_sha256(run.read_table("manifest.parquet")),
        "weights_sha256": hashlib.sha256(files[WEIGHTS]).hexdigest(),
        "environment_sha256": hashlib.sha256(lock.encode()).hexdigest(),
    }


def model_card(run: Run, test: dict[str, float], classes: tuple[str, ...], origin: dict[str, str]) -> str:
    """The card in Markdown: what the model is for, what it was made from, how good it is, and what to beware of."""
    data, model = run.experiment.data, run.experiment.model
    counts = Counter(run.read_table("manifest.parquet")["subset"].to_pylist())
    parts = ", ".join(f"{counts[name]} {name}" for name in ("train", "val", "test") if counts[name])
    hashes = "".join(f"| {name} | `{origin[name]}` |\n" for name in LINEAGE)
    accuracy = "".join(
        f"| {name.removeprefix('class/')} | {value:.1%} |\n"
        for name, value in test.items()
        if name.startswith("class/")
    )
    return f"""# DTCM on {data.name}, split {data.split}

Recognises {len(classes)} actions in dark video: {", ".join(classes)}.
In: uint8 RGB clips [N, {data.frames}, {data.crop_px}, {data.crop_px}, 3], that is {data.frames} frames at stride \
{data.stride}, resized to {data.width_px}x{data.height_px} and cropped. Out: probabilities [N, {len(classes)}].

Model: enhancer {model.enhancer} (k = {model.k}) before {model.classifier}, setting {run.experiment.loss.setting}. \
Data: {parts} videos.

## Test

Central clip and crop, {test["clips"]:.0f} videos: Top-1 {test["top1"]:.1%} (95 % interval {test["top1_low"]:.1%} \
to {test["top1_high"]:.1%}; chance {test["chance"]:.1%}), Top-5 {test["top5"]:.1%}, calibration error \
{test["ece"]:.1%}. Without the {test["clips"] - test.get("leak_free_clips", 0):.0f} test videos that share something \
with training: Top-1 {test.get("leak_free_top1", float("nan")):.1%}.

| class | Top-1 |
|---|---|
{accuracy}
## Beware

It knows these classes only and names one of them for any clip. It was tested on videos of its own data set; cameras,
people and light of other places are not covered. Do not let it decide about people without a person who checks.

## Where it comes from

| | |
|---|---|
{hashes}"""
