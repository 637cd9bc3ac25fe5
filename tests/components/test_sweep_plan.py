import pytest

from components.sweep_plan import Range, corner_points, definition, factor_points, read_sweep, trial
from dtcm.config import Experiment
from dtcm.errors import BadInput
from dtcm.recipes import sample

PAPER = {"loss.alpha": 0.1, "loss.w_stc": 4.0, "model.k": 4}


def test_the_paper_sweep_is_tables_vii_to_ix_one_factor_at_a_time():
    points = factor_points(read_sweep("paper", sample()))
    changed = [{name: value for name, value in point.items() if value != PAPER[name]} for point in points]
    assert changed == [
        {},
        *({"loss.alpha": value} for value in (0.01, 1, 10)),
        *({"loss.w_stc": value} for value in (0, 2, 6, 8, 10)),
        *({"model.k": value} for value in (1, 2, 8, 16)),
    ]


def test_the_paper_prints_a_figure_for_every_value():
    sweep = read_sweep("paper", Experiment())
    assert sweep.printed["loss.alpha"].values == (95.6, 96.8, 96.3, 95.3)
    assert {name: len(values) for name, values in sweep.fields.items()} == {
        name: len(printed.values) for name, printed in sweep.printed.items()
    }


def test_a_further_field_joins_by_its_dotted_name():
    sweep = read_sweep("paper", Experiment(), more=["optim.lr: [1e-5, 1e-4]", "loss.setting: [one-stage-ar]"])
    points = factor_points(sweep)
    assert len(points) == 13 + 1 + 1
    assert points[-2]["optim.lr"] == 1e-4
    assert trial(sweep, points[-1], 0).experiment.loss.setting == "one-stage-ar"


def test_other_values_of_a_field_have_nothing_of_the_papers_beside_them():
    sweep = read_sweep("paper", Experiment(), more=["model.k: [3, 5]"])
    assert sweep.fields["model.k"] == (3, 5)
    assert set(sweep.printed) == {"loss.alpha", "loss.w_stc"}


def test_a_search_has_ranges_and_choices_whose_ends_are_checked():
    sweep = read_sweep("joint", Experiment(), more=["optim.lr: {low: 1e-5, high: 1e-3, log: true}"], seeds=[3])
    assert sweep.fields["loss.alpha"] == Range(0.01, 10.0, True)
    assert sweep.fields["optim.lr"] == Range(1e-5, 1e-3, True)
    ends = corner_points(sweep)
    assert {point["model.k"] for point in ends} == {1, 2, 4, 8, 16}
    assert {point["loss.w_stc"] for point in ends} == {0.0, 10.0}


def test_a_trial_is_named_by_its_experiment_and_equal_values_are_one_trial():
    sweep = read_sweep("paper", Experiment(), name="weekly")
    one, same = trial(sweep, PAPER, 0), trial(sweep, {**PAPER, "loss.w_stc": 4}, 0)
    assert one == same
    assert one.name.startswith("weekly-")
    assert trial(sweep, PAPER, 1).name != one.name
    assert trial(sweep, PAPER, 1).experiment.seed == 1


def test_what_a_sweep_is_does_not_depend_on_its_name():
    assert definition(read_sweep("paper", sample(), name="a")) == definition(read_sweep("paper", sample(), name="b"))
    assert definition(read_sweep("paper", sample())) != definition(read_sweep("paper", Experiment()))


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("loss.aplha: [1]", "no experiment field 'loss.aplha'"),
        ("loss: [1]", "no experiment field 'loss'"),
        ("loss.alpha: 1", "needs a list of values"),
        ("loss.alpha: [high]", "loss.alpha cannot be 'high'; it is float"),
        ("model.k: [1.5]", "model.k cannot be 1.5; it is int"),
        ("data.flip: [1]", "data.flip cannot be 1; it is bool"),
        ("loss.setting: [three-stage]", "it is one-stage or one-stage-ar or two-stage or frozen"),
        ("loss.alpha: [1, 1.0]", "named twice"),
        ("loss.alpha: {low: 1, high: 2}", "needs a list of values"),
        ("seed: [1, 2]", "seeds are named with --seeds"),
        ("data.root: [a, b]", "data.root cannot be swept"),
        ("[", "--also is not YAML"),
        ("loss.alpha", "must be a mapping"),
    ],
)
def test_a_field_or_value_that_cannot_be_is_named_before_anything_starts(more, sentence):
    with pytest.raises(BadInput) as error:
        read_sweep("paper", Experiment(), more=[more])
    assert sentence in str(error.value)


@pytest.mark.parametrize("values", ["{low: 2, high: 1}", "{low: 0, high: 1, log: true}", "{low: a, high: b}"])
def test_a_range_that_cannot_be_is_refused(values):
    with pytest.raises(BadInput, match=r"loss\.alpha cannot"):
        read_sweep("joint", Experiment(), more=[f"loss.alpha: {values}"])


def test_a_sweep_that_does_not_exist_is_answered_with_those_that_do():
    with pytest.raises(BadInput, match="joint, paper"):
        read_sweep("papre", Experiment())


def test_seeds_are_named_once():
    with pytest.raises(BadInput, match="every seed once"):
        read_sweep("paper", Experiment(), seeds=[0, 0])
