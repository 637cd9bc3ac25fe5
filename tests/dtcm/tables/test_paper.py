"""Every figure of cost that the paper prints is ours, or is marked and explained."""

import csv
import functools

import pytest

from dtcm.config import Experiment, with_overrides
from dtcm.costs import Costs
from dtcm.data.transforms import check
from dtcm.enhancement import METHODS
from dtcm.errors import BadInput
from dtcm.models import ENHANCERS
from dtcm.models.catalog import CLASSIFIERS
from dtcm.tables import TABLES, agrees, costs
from dtcm.tables.paper import MODELS

DIFFERENT = {
    "VGG two-stream 16x224": {"params"},
    "I3D two-stream 16x224": {"params"},
    "I3D-RGB 16x224": {"params"},
    "I3D-RGB 64x112": {"params", "gops"},
    "3D-ResNet-18 16x224": {"params"},
    "TSN 8x224": {"gops"},
    "TSM 8x224": {"gops"},
    "TIN 8x224": {"gops"},
    "SlowFast16+64 64x224": {"params", "gops"},
    "TimeSformer-L 8x224": {"params"},
    "Video-Swin-B 32x224": {"params", "gops"},
    "MViT-B 64x3 64x224": {"params"},
    "Baseline (Zero-DCE)": {"gops"},
    "k = 2": {"gops"},
    "k = 8": {"gops"},
}
"""What is printed otherwise than it is."""
LABELS = {"DarkLight-ResNeXt101": "DarkLight-ResNeXt-101", "Separable-3D (S3D)": "Separable-3D"}
ENTRIES = {entry.label: (table, entry) for table in ("III", "V", "IX") for entry in TABLES[table].entries}


@functools.cache
def counted(model) -> Costs:
    try:
        found = costs(model)
    except BadInput as error:
        pytest.skip(str(error))
    assert found is not None
    return found


@pytest.mark.parametrize("label", [label for label, (_, entry) in ENTRIES.items() if entry.counted])
def test_printed_costs_are_ours_or_explained(label):
    table, entry = ENTRIES[label]
    found = counted(entry.counted)
    ours = {"params": found.params / (1e3 if table == "IX" else 1e6), "gops": found.paper_ops / 1e9}
    wrong = {name for name, value in ours.items() if entry.printed.get(name) and not agrees(value, entry.printed[name])}
    assert wrong == DIFFERENT.get(label, set())
    assert entry.note or not wrong


def test_printed_costs_are_those_of_the_published_table(reference):
    with (reference / "reference" / "paper_costs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    checked = []
    for row in rows:
        frames, size = row["input"].split(" ")[0].split("x")[:2]
        label = f"{LABELS.get(row['model'], row['model'])} {frames}x{size}"
        if label not in ENTRIES:
            continue
        _, entry = ENTRIES[label]
        for key, column in (("params", "paper_params_M"), ("gops", "paper_gflops")):
            printed = "" if row[column] == "-" else row[column]
            assert float(entry.printed.get(key) or -1) == float(printed or -1), (label, key)
        if row["our_params"] and label != "VGG two-stream 16x224":  # the table counts one of its streams
            assert counted(entry.counted).params == int(row["our_params"]), label
        checked.append(label)
    assert set(MODELS) <= set(checked)


@pytest.mark.parametrize("number", TABLES)
def test_rows_are_experiments_of_models_that_exist(number):
    table = TABLES[number]
    labels = [entry.label for entry in table.entries]
    assert len(set(labels)) == len(labels)
    for entry in table.entries:
        assert {entry.reference, entry.timed_against} <= {"", *labels}
        if entry.overrides is None:
            assert entry.note.startswith("not built")
            continue
        experiment = with_overrides(Experiment(), dict(entry.overrides))
        assert experiment.model.classifier in CLASSIFIERS
        assert experiment.model.enhancer in ENHANCERS | METHODS
        check(experiment.data)


def test_the_accuracies_that_the_text_of_the_paper_repeats():
    tops = {label: float(entry.printed["top1"]) for label, (_, entry) in ENTRIES.items() if entry.printed.get("top1")}
    arid = {entry.label: float(entry.printed["top1"] or 0) for entry in TABLES["III"].entries}
    assert arid["DTCM 64x112"] - arid["DarkLight-R(2+1)D 64x112"] == pytest.approx(2.32)
    assert arid["DTCM 64x112"] - arid["TimeSformer-L 8x224"] == pytest.approx(14.97)
    assert arid["DTCM 64x112"] - arid["Video-Swin-B 32x224"] == pytest.approx(6.57)
    assert arid["DTCM 64x112"] - arid["MViT-B 64x3 64x224"] == pytest.approx(4.93)
    assert arid["DTCM 64x112"] - arid["MRAN 64x112"] == pytest.approx(2.63)
    assert tops["DTCM 64x112"] - tops["TimeSformer-L 8x224"] == pytest.approx(3.41)  # Table V
    fisheye = {entry.label: float(entry.printed["top1"] or 0) for entry in TABLES["IV"].entries}
    assert fisheye["DTCM 64x112"] - fisheye["GT-I3D 64x112"] == pytest.approx(4.19)


@pytest.mark.parametrize("number", ["X", "XI"])
def test_printed_differences_are_those_of_the_printed_accuracies(number):
    top1 = {entry.label: float(entry.printed["top1"]) for entry in TABLES[number].entries}
    for entry in TABLES[number].entries:
        if delta := entry.printed.get("delta"):
            assert float(delta) == pytest.approx(top1[entry.label] - top1[entry.reference]), entry.label
