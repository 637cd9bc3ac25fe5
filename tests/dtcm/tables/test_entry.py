import pytest

from dtcm.config import DataConfig
from dtcm.errors import BadInput
from dtcm.tables import TABLES, Counted, agrees, choose, costs, own_input, substitute

SMALL = DataConfig(frames=8, crop_px=32)


@pytest.mark.parametrize(
    ("value", "printed", "same"),
    [
        (47.543755, "47.54", True),
        (63.497618, "63.50", True),
        (63.497618, "63.5", True),
        (2.3852, "2.38", False),
        (2379.87, "2380", True),
        (281.34, "282", False),
    ],
)
def test_a_figure_is_compared_to_the_printed_digits(value, printed, same):
    assert agrees(value, printed) == same


def test_rows_are_chosen_by_label_or_number_in_the_order_of_the_table():
    entries = TABLES["VI"].entries
    assert choose(entries, []) == list(entries)
    assert [e.label for e in choose(entries, ["3", "two-stage"])] == ["two-stage", "one-stage, L_total"]
    with pytest.raises(BadInput, match="There is no row '4'; the rows are two-stage, "):
        choose(entries, ["4"])


def test_the_enhancer_alone_and_in_front_of_a_classifier_are_counted():
    alone, joint, plain = (
        costs(Counted(classifier, 8, 32, enhancer=enhancer))
        for classifier, enhancer in (("", "light"), ("small3d", "light"), ("small3d", "none"))
    )
    assert alone is not None
    assert plain is not None
    assert alone.params == 23_768
    assert joint == tuple(a + b for a, b in zip(alone, plain, strict=True))
    assert costs(Counted("small3d", 8, 32, enhancer="lime")) is None


def test_another_classifier_in_table_6_keeps_the_settings_and_leaves_the_papers_accuracies_out():
    table = substitute(TABLES["VI"], ["small3d", "r3d-18"], SMALL)
    assert [entry.label for entry in table.entries] == [
        f"{name}: {setting}"
        for name in ("small3d", "r3d-18")
        for setting in ("two-stage", "one-stage, L_AR", "one-stage, L_total")
    ]
    entry = table.entries[1]
    assert entry.overrides is not None
    assert entry.overrides["loss.setting"] == "one-stage-ar"
    assert entry.overrides["model.classifier"] == "small3d"
    assert entry.counted == Counted("small3d", 8, 32, enhancer="light")
    assert entry.reference == "small3d: two-stage"
    assert entry.printed == {}
    assert not any(entry.note for entry in table.entries)  # they are on the paper's accuracies
    assert "small3d, r3d-18 instead of the paper's" in table.note


def test_another_classifier_in_table_10_is_one_pair_on_the_experiments_clips():
    before, after = substitute(TABLES["X"], ["small3d"], SMALL).entries
    assert (before.label, after.label) == ("small3d: baseline", "small3d: DTCM")
    assert before.overrides == {"model.classifier": "small3d", "model.enhancer": "none", "loss.setting": "frozen"}
    assert after.reference == before.label


def test_another_classifier_in_table_9_changes_no_cost_of_the_enhancer():
    table = substitute(TABLES["IX"], ["small3d"], SMALL)
    for entry, original in zip(table.entries, TABLES["IX"].entries, strict=True):
        assert entry.counted == original.counted
        assert set(original.printed) - set(entry.printed) <= {"delta"}


@pytest.mark.parametrize(
    ("number", "name", "sentence"), [("III", "small3d", "--rows"), ("VI", "small4d", "no classifier")]
)
def test_what_cannot_be_substituted_is_said(number, name, sentence):
    with pytest.raises(BadInput, match=sentence):
        substitute(TABLES[number], [name], SMALL)


def test_rows_may_share_the_experiments_input():
    for entry, original in zip(own_input(TABLES["V"]).entries, TABLES["V"].entries, strict=True):
        assert entry.counted == original.counted
        assert original.overrides is not None
        assert entry.overrides == {k: v for k, v in original.overrides.items() if not k.startswith("data.")}
