"""The gate's decisions: the ledger and the alias under crashes and races, and one promotion with real models."""

import math
import threading
from pathlib import Path

import mlflow
import pytest

from components import judgement, promotion
from components.judgement import Verdict
from components.promotion import champions, decide, promote, roll_back, settle
from components.promotion_ledger import Ledger
from components.settings import Settings
from components.storage import Folder
from components.tester import read_bundle
from components.versions import Version, Versions
from dtcm.errors import BadInput
from dtcm.gate import Check, Limits


class Registry(Versions):
    """The alias alone, without MLflow, and a crash before it moves."""

    def __init__(self, champion=""):
        self.name, self.champion, self.crashes = "dtcm-night-split1", champion, 0

    def find(self, which):
        number = self.champion if which == "champion" else which
        return Version(number, {}) if number else None

    def set_champion(self, number):
        if self.crashes:
            self.crashes -= 1
            raise KeyboardInterrupt
        self.champion = number


def entry(champion, before="", kind="promoted"):
    return {"who": "me", "when": "now", "kind": kind, "champion": champion, "champion_before": before}


@pytest.fixture
def ledger(tmp_path):
    return Ledger(Folder(str(tmp_path / "ledger")))


def test_the_alias_follows_the_ledger(ledger):
    registry = Registry()
    decide(ledger, registry, 0, entry("1"))
    decide(ledger, registry, 1, entry("2", "1"))
    assert registry.champion == "2"
    assert [each["champion"] for each in ledger.entries()] == ["1", "2"]


def test_a_crash_between_entry_and_alias_leaves_the_old_champion_and_is_made_good(ledger):
    registry = Registry()
    decide(ledger, registry, 0, entry("1"))
    registry.crashes = 1
    with pytest.raises(KeyboardInterrupt):
        decide(ledger, registry, 1, entry("2", "1"))
    assert registry.champion == "1"
    settle(ledger, registry)
    assert registry.champion == "2"


def test_of_two_at_the_same_moment_one_wins_and_the_other_is_told(ledger):
    registry = Registry()
    decide(ledger, registry, 0, entry("1"))
    decide(ledger, registry, 1, entry("2", "1"))
    with pytest.raises(BadInput, match=r"Another was faster.*version 2 is champion"):
        decide(ledger, registry, 1, entry("3", "1"))
    assert registry.champion == "2"


def test_a_crowd_of_promotions_leaves_one_champion_that_the_ledger_names(ledger):
    registry, told, start = Registry(), [], threading.Barrier(8)

    def attempt(number):
        start.wait()
        try:
            decide(ledger, registry, 0, entry(str(number)))
        except BadInput as error:
            told.append(str(error))

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 7
    assert [registry.champion] == [each["champion"] for each in ledger.entries()]


def test_who_stalls_before_the_alias_does_not_undo_who_came_later(ledger):
    class Stalled(Registry):
        def set_champion(self, number):
            if len(ledger.entries()) == 1:
                decide(ledger, self, 1, entry("2", "1"))  # all of another promotion happens in between
            super().set_champion(number)

    late = Stalled()
    decide(ledger, late, 0, entry("1"))
    assert late.champion == "2"


def test_an_alias_moved_by_hand_is_named_and_left_alone(ledger):
    registry = Registry()
    decide(ledger, registry, 0, entry("1"))
    registry.champion = "7"
    with pytest.raises(BadInput, match="moved by hand, to version 7"):
        settle(ledger, registry)
    assert registry.champion == "7"


def test_a_changed_or_missing_entry_shows(ledger):
    registry = Registry()
    for seen, (number, before) in enumerate([("1", ""), ("2", "1"), ("3", "2")]):
        decide(ledger, registry, seen, entry(number, before))
    folder = Path(ledger.folder.uri)
    (folder / "000002.json").write_text((folder / "000002.json").read_text().replace('"me"', '"you"'))
    with pytest.raises(BadInput, match="changed at entry 3"):
        ledger.entries()
    (folder / "000002.json").unlink()
    with pytest.raises(BadInput, match="changed at entry 2"):
        ledger.entries()


def test_champions_that_can_be_gone_back_to():
    steps = [entry("2", "1"), entry("2", "2", "refused"), entry("3", "2"), entry("2", "3", "rolled back")]
    assert champions(steps[:1]) == ["1", "2"]
    assert champions(steps) == ["1", "2"]
    assert champions([*steps, entry("1", "2", "rolled back")]) == ["1"]


@pytest.fixture
def model(trained):
    """A registered model of two versions with the trained one's artefact; the first is champion, set by hand."""
    mlflow.set_tracking_uri(trained.tracking_uri)  # where MLflow looks for a version's model
    client = mlflow.MlflowClient(trained.tracking_uri)
    source = client.get_model_version(*trained.model_version.split(" version "))
    name = "gate"
    client.create_registered_model(name)
    for _ in range(2):
        number = client.create_model_version(name, str(source.source), source.run_id).version
        for key, value in {**source.tags, "git_dirty": "False", "git_commit": "a" * 40}.items():
            client.set_model_version_tag(name, number, key, value)
    client.set_registered_model_alias(name, "champion", "1")
    yield name
    client.delete_registered_model(name)


def champion(trained, name):
    return str(mlflow.MlflowClient(trained.tracking_uri).get_model_version_by_alias(name, "champion").version)


@pytest.mark.slow
def test_an_equal_model_is_refused_allowed_with_a_margin_and_rolled_back(cluster, trained, model, tmp_path):
    settings = Settings(storage=str(tmp_path), tracking_uri=trained.tracking_uri)
    limits = Limits(latency=math.inf)  # timings of this machine decide nothing here
    refused = promote(model, "2", limits, settings)
    assert [check.name for check in refused.checks if not check.passed] == ["better"]
    assert refused.figures["paired"]["gained"] == refused.figures["paired"]["lost"] == 0
    assert refused.figures["challenger"]["top1"] == pytest.approx(trained.test["top1"])
    assert champion(trained, model) == "1"
    passed = promote(model, "2", Limits(latency=math.inf, margin=0.99), settings)
    assert passed.passed
    assert champion(trained, model) == "2"
    assert roll_back(model, settings, dry_run=True) == ("2", "1")
    assert champion(trained, model) == "2"
    assert roll_back(model, settings) == ("2", "1")
    assert champion(trained, model) == "1"
    entries = Ledger(Folder(str(tmp_path / "promotions" / model))).entries()
    assert [each["kind"] for each in entries] == ["refused", "promoted", "rolled back"]
    assert entries[1]["figures"]["champion"]["clips"] == 8
    with pytest.raises(BadInput, match="champion already"):
        promote(model, "1", limits, settings)
    with pytest.raises(BadInput, match="no version '9'"):
        promote(model, "9", limits, settings)


def test_a_dry_run_writes_nothing(trained, model, tmp_path, monkeypatch):
    verdict = Verdict(model, "2", "1", (Check("better", True, ""),), {})
    monkeypatch.setattr(promotion, "judge", lambda *_: verdict)
    settings = Settings(storage=str(tmp_path), tracking_uri=trained.tracking_uri)
    assert promote(model, "2", Limits(), settings, dry_run=True) == verdict
    assert champion(trained, model) == "1"
    assert not (tmp_path / "promotions").exists()


@pytest.mark.parametrize(
    ("tag", "value", "sentence"),
    [
        ("git_dirty", "True", "changes that no commit holds"),
        ("git_commit", "unknown", "no git_commit"),
        ("weights_sha256", "0" * 64, "weights_sha256 is of something else"),
        ("top1", "0.123", "the evaluator gives"),
    ],
)
def test_a_lineage_that_is_incomplete_or_untrue_is_refused(trained, tag, value, sentence):
    mlflow.set_tracking_uri(trained.tracking_uri)  # where MLflow looks for a version's model
    client = mlflow.MlflowClient(trained.tracking_uri)
    source = client.get_model_version(*trained.model_version.split(" version "))
    true = {**source.tags, "git_dirty": "False", "git_commit": "a" * 40}
    run = trained.run
    manifest, predictions = run.read_table("manifest.parquet"), run.read_table("predictions.parquet")
    weights, bundle = run.model.read("model.safetensors"), read_bundle(run.model)
    honest = judgement.Candidate(Version("1", true), bundle, weights, predictions)
    assert judgement.lineage(honest, manifest).passed
    check = judgement.lineage(honest._replace(version=Version("1", true | {tag: value})), manifest)
    assert not check.passed
    assert sentence in check.says
