"""Two registered versions, judged on the same clips by the one evaluator: what components/promotion.py decides by."""

import hashlib
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from components.cluster import cluster
from components.model_card import HASHES
from components.runs import manifest_sha256
from components.settings import Settings
from components.storage import folder_at
from components.tester import predict_subset, read_bundle, right_clips, score, with_leaks
from components.versions import Version, Versions
from dtcm import config, gate
from dtcm.bundle import WEIGHTS, Bundle
from dtcm.data.leaks import leaks_into
from dtcm.errors import BadInput
from dtcm.gate import Check, Judged, Limits

TIMED_ROUNDS = 5
"""Clips of each model of which the median time is taken."""


@dataclass(frozen=True)
class Verdict:
    """What came of a promotion."""

    model: str
    challenger: str
    champion: str
    """The champion that was compared with; empty if there was none."""
    checks: tuple[Check, ...]
    figures: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Whether the challenger may be champion."""
        return all(check.passed for check in self.checks)


class Candidate(NamedTuple):
    """A version with its bundle and what the evaluator gave for it."""

    version: Version
    bundle: Bundle
    weights: bytes
    predictions: pa.Table


def judge(
    versions: Versions, challenger: Version, champion: Version | None, limits: Limits, settings: Settings
) -> Verdict:
    """Both models on the test part of the challenger's manifest, by the one evaluator, and the checks."""
    manifest = _manifest(challenger)
    with tempfile.TemporaryDirectory() as scratch, cluster(settings) as use_gpu:
        wanted = [version for version in (challenger, champion) if version]
        found = [_predict(versions, v, manifest, Path(scratch) / v.number, settings, use_gpu) for v in wanted]
    if champion:
        found = _with_all_leaks(found, manifest, _manifest(champion))
    if len({candidate.bundle.classes for candidate in found}) > 1:
        raise BadInput(f"Versions {' and '.join(v.number for v in wanted)} know different classes; compare by hand.")
    new = found[0]
    checks = [lineage(new, manifest), _leak_free(found)]
    if champion:
        judged, names, dv = _judged(found), new.predictions["class_name"], new.predictions["dv"]
        checks += gate.compare(judged[0], judged[1], names.to_pylist(), dv.to_numpy(), limits)
    else:
        checks.append(gate.better_than_chance(right_clips(new.predictions), len(new.bundle.classes)))
    figures = {"challenger": score(new.predictions)}
    if champion:
        figures["champion"] = score(found[1].predictions)
        figures["paired"] = gate.paired(*(right_clips(candidate.predictions) for candidate in found))
    number = champion.number if champion else ""
    return Verdict(versions.name, challenger.number, number, tuple(checks), figures)


def _manifest(version: Version) -> pa.Table:
    try:
        return folder_at(version.tags["run"]).read_table("manifest.parquet")
    except (KeyError, FileNotFoundError) as error:
        raise BadInput(
            f"The manifest of version {version.number} is not at {version.tags.get('run', 'any recorded place')}; "
            "without it nobody knows what the version was trained and tested on."
        ) from error


def _predict(
    versions: Versions, version: Version, manifest: pa.Table, scratch: Path, settings: Settings, use_gpu: bool
) -> Candidate:
    folder = versions.download(version, scratch)
    bundle = read_bundle(folder)
    predictions = predict_subset(
        manifest, folder, bundle.experiment, "test", settings.workers, use_gpu, gpus_per_worker=settings.gpus_per_worker
    )
    return Candidate(version, bundle, folder.read(WEIGHTS), predictions)


def _with_all_leaks(found: list[Candidate], manifest: pa.Table, other: pa.Table) -> list[Candidate]:
    """Test clips that either model has trained on leak, since they would favour it."""
    own = found[0].predictions["leak"].to_pylist()
    leaks = [mine or theirs for mine, theirs in zip(own, leaks_into(manifest, other), strict=True)]
    return [candidate._replace(predictions=with_leaks(candidate.predictions, leaks)) for candidate in found]


def _judged(found: list[Candidate]) -> list[Judged]:
    times = latencies_s([candidate.bundle for candidate in found])
    return [Judged(right_clips(c.predictions), time_s, len(c.weights)) for c, time_s in zip(found, times, strict=True)]


def latencies_s(bundles: list[Bundle]) -> list[float]:
    """Median times of one clip on this machine's processor, taken in turns so that what else runs slows all alike."""
    rng = np.random.default_rng(0)
    sizes = [(bundle.experiment.data.frames, *[bundle.experiment.data.crop_px] * 2, 3) for bundle in bundles]
    clips = [rng.integers(0, 40, (1, *size), dtype=np.uint8) for size in sizes]
    rounds = []
    for _ in range(1 + TIMED_ROUNDS):
        rounds.append([])
        for bundle, clip in zip(bundles, clips, strict=True):
            start_s = time.perf_counter()
            bundle.predict(clip)
            rounds[-1].append(time.perf_counter() - start_s)
    return [statistics.median(times) for times in zip(*rounds[1:], strict=True)]  # the first is not counted


def lineage(candidate: Candidate, manifest: pa.Table) -> Check:
    """Whether a version tells what made it, and tells the truth where that can be seen."""
    tags = candidate.version.tags
    seen = {
        "config_sha256": config.sha256(candidate.bundle.experiment),
        "manifest_sha256": manifest_sha256(manifest),
        "weights_sha256": hashlib.sha256(candidate.weights).hexdigest(),
    }
    problems = [f"no {key}" for key in ("git_commit", *HASHES) if tags.get(key, "unknown") == "unknown"]
    problems += [f"{key} is of something else" for key, value in seen.items() if key in tags and tags[key] != value]
    if tags.get("git_dirty") != "False":
        problems.append("trained from a git tree with changes that no commit holds")
    right = right_clips(candidate.predictions)
    if abs(float(tags.get("top1", "nan")) - right.mean()) > 1.5 / len(right):
        problems.append(f"its run's test gave Top-1 {tags.get('top1')}, the evaluator gives {right.mean():.4g} now")
    says = "; ".join(problems) or f"commit {tags['git_commit'][:12]}, clean; configuration, manifest, weights match"
    return Check("lineage", not problems, says)


def _leak_free(found: list[Candidate]) -> Check:
    """Shown and never a reason: how good the models are where nothing is shared with training."""
    scores = [score(candidate.predictions) for candidate in found]
    if "leak_free_top1" not in scores[0]:
        return Check("leak-free", True, "every test clip shares something with training; for information")
    shown = " against ".join(f"{each['leak_free_top1']:.1%}" for each in scores)
    clips = scores[0]["leak_free_clips"]
    return Check("leak-free", True, f"Top-1 {shown} on the {clips:.0f} clips that share nothing; for information")
