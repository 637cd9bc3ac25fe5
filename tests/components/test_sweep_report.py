import numpy as np
import pytest

from components.ledger import Ledger
from components.settings import Settings
from components.sweep_plan import read_sweep, trial
from components.sweep_report import report
from components.sweep_state import best_trials, objective, score, sweep_folder, wanted
from dtcm import config, figures
from dtcm.config import with_overrides
from dtcm.metrics import wilson_interval

PNG = b"\x89PNG"


@pytest.fixture
def base(tiny):
    return with_overrides(tiny, {"data.root": "", "data.dataset": "made-up"})


@pytest.fixture
def settings(tmp_path):
    return Settings(storage=str(tmp_path))


def val(top1, cross_entropy=1.0, inconsistency=0.1):
    return {"top1": top1, "cross_entropy": cross_entropy, "inconsistency": inconsistency, "clips": 20.0}


def on_test(top1):
    return {"top1": top1, "chance": 0.5, "clips": 50.0, "model_version": ""}


def enter(sweep, settings, accuracies):
    """A ledger in which the given points' trials finished: {(changed field, value): one accuracy for each seed}."""
    ledger = Ledger(sweep_folder(sweep, settings))
    for one in wanted(sweep, ledger):
        for (field, value), tops in accuracies.items():
            known = config.flatten(sweep.base)
            if one.point == {name: known[name] for name in sweep.fields} | {field: value}:
                top1 = tops[sweep.seeds.index(one.experiment.seed)]
                facts = {"point": one.point, "seed": one.experiment.seed, "run": ""}
                ledger.append(one.name, "started", **facts)
                ledger.append(one.name, "finished", **facts, epochs=2, val=val(top1), test=on_test(top1 / 2))
    return ledger


def test_the_tables_stand_beside_the_papers_with_intervals(base, settings):
    sweep = read_sweep("paper", base, seeds=[0, 1])
    enter(sweep, settings, {("model.k", 4): (0.5, 0.7), ("model.k", 16): (0.4, 0.4), ("loss.alpha", 10.0): (0.3, 0.5)})
    text = report(sweep, settings)
    low, high = wilson_interval(0.6, 20)
    # Student's interval of the mean of two: 12.706 s / sqrt(2), and s is 0.2 / sqrt(2).
    ours = f"60.0 ({100 * low:.1f} to {100 * high:.1f}) ±127.1"
    table = text[text.index("## Table IX: k") : text.index("## All points")].splitlines()
    assert [cell.strip() for cell in table[2].split("|")[1:3]] == ["model.k", "seeds"]
    assert "the paper, Δ Top-1, %" in table[2]
    (row,) = [line for line in table if line.startswith("| 4 |")]
    assert ours in row
    assert row.endswith("| +6.5 |")
    (row,) = [line for line in table if line.startswith("| 1 |")]
    assert row == "| 1 | - | - | - | - | - | - | +6.7 |"
    assert "| 10 | 2 | 40.0" in text[text.index("Table VII") : text.index("Table VIII")]


def test_cost_falls_with_k_and_only_what_is_not_beaten_is_on_the_front(base, settings):
    sweep = read_sweep("paper", base)
    enter(
        sweep,
        settings,
        {("model.k", 1): (0.4,), ("model.k", 2): (0.7,), ("model.k", 4): (0.6,), ("model.k", 8): (0.6,)},
    )
    rows = [line.split("|") for line in report(sweep, settings).splitlines() if line.startswith("| loss.alpha 0.1,")]
    operations = {line[1].strip()[-2:].strip(): line[5].strip() for line in rows}
    costs = {k: float(cell.split()[0]) for k, cell in operations.items()}
    assert costs["1"] > costs["4"] > costs["8"]
    assert {k for k, cell in operations.items() if cell.endswith("●")} == {"8", "2"}


def test_figures_of_every_factor_and_the_front_are_drawn(base, settings):
    sweep = read_sweep("paper", base)
    enter(sweep, settings, {("model.k", 4): (0.5,), ("model.k", 1): (0.4,), ("loss.alpha", 1.0): (0.3,)})
    report(sweep, settings)
    folder = sweep_folder(sweep, settings) / "report"
    assert folder.names() == ["loss.alpha.png", "model.k.png", "pareto.png", "sweep.md"]
    assert all(folder.read(name).startswith(PNG) for name in folder.names() if name.endswith(".png"))


def test_the_best_is_chosen_by_validation_and_stored_as_an_experiment(base, settings):
    sweep = read_sweep("paper", base, seeds=[5])
    ledger = enter(sweep, settings, {("model.k", 4): (0.5,), ("model.k", 1): (0.7,), ("model.k", 2): (0.6,)})
    for name, event in ledger.trials().items():  # tests that say the opposite
        facts = {"point": event["point"], "seed": 5, "val": event["val"], "test": on_test(1 - event["val"]["top1"])}
        ledger.append(name, "finished", **facts)
    text = report(sweep, settings)
    best = config.from_json(sweep_folder(sweep, settings).read("best.json").decode())
    assert best == trial(sweep, {"loss.alpha": 0.1, "loss.w_stc": 4, "model.k": 1}, 5).experiment
    assert "Best by validation: loss.alpha 0.1, loss.w_stc 4, model.k 1" in text


def test_points_with_all_seeds_come_before_a_lucky_one(base, settings):
    sweep = read_sweep("paper", base, seeds=[0, 1])
    ledger = enter(sweep, settings, {("model.k", 4): (0.5, 0.5)})
    lucky = trial(sweep, {"loss.alpha": 10, "loss.w_stc": 4, "model.k": 4}, 0)
    ledger.append(lucky.name, "finished", point=lucky.point, seed=0, val=val(1.0), test=on_test(1.0))
    assert {event["point"]["loss.alpha"] for event in best_trials(sweep, ledger)} == {0.1}


def test_what_is_missing_is_said_with_its_reason(base, settings):
    sweep = read_sweep("paper", base)
    ledger = enter(sweep, settings, {("model.k", 4): (0.5,)})
    failed, cut = (trial(sweep, {"loss.alpha": a, "loss.w_stc": 4, "model.k": 4}, 0) for a in (1, 10))
    for one in (failed, cut):
        ledger.append(one.name, "started", point=one.point, seed=0)
    ledger.append(failed.name, "failed", reason="the loss is not finite")
    text = report(sweep, settings)
    assert "1 of 13 trials finished." in text
    assert "- loss.alpha 1, loss.w_stc 4, model.k 4, seed 0: failed: the loss is not finite" in text
    assert "- loss.alpha 10, loss.w_stc 4, model.k 4, seed 0: cut off" in text
    assert text.count("not begun") == 10


def test_a_report_of_nothing_says_so(base, settings):
    sweep = read_sweep("joint", base)
    assert "0 of 0 trials finished." in report(sweep, settings)
    assert "32 of 32 points not proposed yet" in report(sweep, settings)


def test_of_a_search_the_points_that_finished_want_the_other_seeds_best_first(base, settings):
    sweep = read_sweep("joint", base, seeds=[0, 1, 2])
    ledger = Ledger(sweep_folder(sweep, settings))
    points = [{"loss.alpha": a, "loss.w_stc": 1.0, "model.k": 1} for a in (0.1, 0.2, 0.3)]
    for point, state, top1 in zip(points, ("finished", "stopped", "finished"), (0.4, 0.3, 0.6), strict=True):
        one = trial(sweep, point, 0)
        ledger.append(one.name, state, point=one.point, seed=0, val=val(top1), test=on_test(top1), epochs=1)
    rest = [(one.point["loss.alpha"], one.experiment.seed) for one in wanted(sweep, ledger) if one.experiment.seed]
    assert rest == [(0.3, 1), (0.3, 2), (0.1, 1), (0.1, 2)]
    assert "2 of 7 trials finished, 1 stopped." in report(sweep, settings)
    assert "seed 0: stopped by ASHA after epoch 1" in report(sweep, settings)


def test_the_objective_orders_as_accuracy_then_cross_entropy():
    figures_ = [val(top1 / 20, ce) for top1 in (0, 7, 8, 20) for ce in (100.0, 3.0, 0.5, 0.0)]
    assert sorted(figures_, key=objective) == sorted(figures_, key=score)
    assert len({objective(each) for each in figures_}) == len(figures_)


@pytest.mark.parametrize("printed", [[], [1.0, 2.0, 3.0]])
@pytest.mark.parametrize("operations", [None, [3.0, 2.0, 1.0]])
def test_a_factor_is_drawn_with_and_without_print_and_cost(printed, operations):
    shares = np.array([[0.5, 0.4, 0.6], [0.6, 0.5, 0.7], [0.4, 0.3, 0.5]])
    drawn = figures.factor("loss.w_stc", [0, 2, 4], shares, printed, "Top-1, %", operations, printed)
    assert drawn.startswith(PNG)
