import contextlib
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from components import compare
from components.runs import close_run, open_run
from components.settings import Settings
from dtcm.config import Experiment, ModelConfig, with_overrides
from dtcm.costs import Costs
from dtcm.errors import BadInput
from dtcm.tables import Counted, Entry, Table
from dtcm.tables.markdown import Ours

MANIFEST = pa.Table.from_pylist(
    [
        {"video_id": name, "path": f"/data/{name}", "sha256": name, "label": 0, "class_name": "a", "subset": "test"}
        for name in ("1.mp4", "2.mp4", "3.mp4", "4.mp4")
    ]
)
BASE = Experiment(recipe="night", model=ModelConfig(classifier="small3d"))
PLAIN = {"model.enhancer": "none", "loss.setting": "frozen"}
TABLE = Table(
    "Table 0",
    (
        Entry("plain", {}, PLAIN),
        Entry("dtcm", {}, {"loss.setting": "one-stage"}, reference="plain"),
        Entry("rival", note="not built: nobody says how"),
    ),
)


@pytest.fixture
def settings(storage):
    return Settings(storage=storage)


def finish(experiment, settings, predicted=(0, 0, 0, 1)):
    run = open_run(experiment, settings, MANIFEST)
    run.write_table("predictions.parquet", pa.table({"label": [0, 0, 0, 0], "predicted": list(predicted)}))
    close_run(run, {"top1": 0.75, "top5": 1.0, "inconsistency": 0.5})
    return run


def test_a_row_with_a_seed_is_the_experiment_with_the_rows_fields():
    made = compare.experiments(TABLE.entries, BASE, [0, 7], {})
    assert set(made) == {("plain", 0), ("plain", 7), ("dtcm", 0), ("dtcm", 7)}
    assert made["plain", 7] == with_overrides(BASE, {**PLAIN, "seed": 7})
    assert made["dtcm", 0] == BASE


def test_weights_go_with_the_model_that_they_are_of():
    base = with_overrides(BASE, {"model.classifier_weights": "small.pth", "model.enhancer_weights": "light.pth"})
    entries = [
        Entry("same", {}, {}),
        Entry("kind", {}, {"model.enhancer": "kind"}),
        Entry("other", {}, {"model.classifier": "r3d-18"}),
    ]
    made = compare.experiments(entries, base, [0], {"kind": "kind_weights", "r3d-18": "r3d.pth"})
    files = {label: (e.model.enhancer_weights, e.model.classifier_weights) for (label, _), e in made.items()}
    assert files == {
        "same": ("light.pth", "small.pth"),
        "kind": ("kind_weights", "small.pth"),
        "other": ("light.pth", "r3d.pth"),
    }
    assert "from given weights: kind, light, r3d-18, small3d." in compare.about(made)


def test_only_finished_runs_of_the_very_experiment_are_found(settings):
    open_run(BASE, settings, MANIFEST)
    assert compare.finished(BASE, settings) is None
    first = finish(BASE, settings)
    found = compare.finished(BASE, settings)
    assert found is not None
    assert found.folder == first.folder
    assert compare.finished(replace(BASE, seed=1), settings) is None
    second = finish(BASE, settings)
    assert second.name == f"{first.name}-2"
    found = compare.finished(BASE, settings)
    assert found is not None
    assert found.name == second.name


def test_a_run_whose_name_only_begins_alike_is_not_taken(settings):
    run = finish(BASE, settings)
    other = replace(BASE, seed=1)
    run.folder.write("config.json", compare.config.to_json(other).encode())
    assert compare.finished(BASE, settings) is None


def test_what_is_finished_is_collected_and_not_trained_again(settings, monkeypatch):
    wanted = compare.experiments(TABLE.entries, BASE, [0, 1], {})
    for experiment in wanted.values():
        finish(experiment, settings)
    monkeypatch.setattr(compare, "train_test_register", None)
    assert compare.train_missing(wanted, BASE, settings) == {}
    ours = compare.collect(TABLE, wanted, settings)
    assert set(ours["plain"].tested) == {0, 1}
    assert ours["plain"].tested[0].right.tolist() == [True, True, True, False]
    assert (ours["plain"].tested[0].top5, ours["plain"].tested[0].inconsistency) == (1.0, 0.5)
    assert ours["plain"].tested[0].data == ours["dtcm"].tested[1].data
    assert ours["rival"].tested == {}


def test_a_named_run_is_refused(settings):
    with pytest.raises(BadInput, match="A table makes many runs"):
        compare.train_missing({}, BASE, replace(settings, run="mine"))


def test_missing_runs_are_made_seed_by_seed_and_a_row_that_cannot_be_stops_no_other(settings, monkeypatch, capsys):
    def train(experiment, settings):
        if experiment.model.enhancer == "none":
            raise BadInput("This cannot be.")
        finish(experiment, settings)

    monkeypatch.setattr(compare, "train_test_register", train)
    monkeypatch.setattr(compare, "find_videos", lambda experiment: [])
    monkeypatch.setattr(compare, "cluster", contextlib.nullcontext)
    finish(BASE, settings)
    wanted = compare.experiments(TABLE.entries, BASE, [0, 1, 2], {})
    assert compare.train_missing(wanted, BASE, settings) == {"plain": "This cannot be."}
    begun = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Row")]
    assert begun == [
        "Row plain, seed 0 (1 of 5 runs)",
        "Row dtcm, seed 1 (3 of 5 runs)",
        "Row dtcm, seed 2 (5 of 5 runs)",
    ]
    assert set(compare.collect(TABLE, wanted, settings)["dtcm"].tested) == {0, 1, 2}


def test_a_real_run_is_found_and_a_row_that_cannot_be_trained_says_why(cluster, trained, tiny):
    settings = Settings(storage=str(Path(trained.run.folder.uri).parents[2]))
    kind = Entry("kind", {}, {"model.enhancer": "kind", "loss.setting": "frozen"})
    table = Table("Table 0", (Entry("light", {}, {}), kind))
    wanted = compare.experiments(table.entries, tiny, [0], {})
    problems = compare.train_missing(wanted, tiny, settings)
    assert set(problems) == {"kind"}
    assert "needs its public weights, --weights NAME FILE" in problems["kind"]
    (outcome,) = compare.collect(table, wanted, settings)["light"].tested.values()
    assert outcome.right.mean() == pytest.approx(trained.test["top1"])
    assert outcome.inconsistency == trained.test["inconsistency"]


def test_costs_are_counted_of_the_chosen_rows_and_a_missing_extra_is_said(monkeypatch):
    def costs(counted):
        if counted.classifier == "s3d":
            raise BadInput("Install something.")
        return Costs(1, 2, 3)

    monkeypatch.setattr(compare, "costs", costs)
    entries = tuple(Entry(name, counted=Counted(name)) for name in ("small3d", "s3d", "r3d-18"))
    ours = {entry.label: Ours() for entry in entries}
    compare.count(Table("Table 0", entries), entries[:2], ours)
    assert ours == {"small3d": Ours(Costs(1, 2, 3)), "s3d": Ours(problem="Install something."), "r3d-18": Ours()}
