import numpy as np
import pytest

from dtcm.costs import Costs
from dtcm.tables import Counted, Entry, Table
from dtcm.tables.markdown import Ours, Outcome, render
from dtcm.tables.measure import Measured, measure

BASE = Entry("base", {"params": "1.50", "top1": "50.00"}, {}, Counted("small3d"))
BETTER = Entry(
    "better", {"params": "2.00", "delta": "+5.0"}, {}, Counted("small3d"), "base", "base", note="print is wrong"
)
ABSENT = Entry("absent", {"top1": "60.00"}, note="not built: nobody says how")
TABLE = Table("Table 0: birds", (BASE, BETTER, ABSENT), "A note.")
RIGHT = np.array([True, True, True, False, False, False, False, False, False, False])


def outcome(right, data="a"):
    return Outcome(data, np.array(right), 0.9, 0.25)


def cells(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {row[1].split(" [")[0]: dict(zip(head, row, strict=True)) for row in rows}


def everything(**better):
    other = RIGHT.copy()
    other[3:5] = True
    found = {
        "base": Ours(Costs(1_500_000, 10**9, 10**9), {0: outcome(RIGHT), 1: outcome(RIGHT)}),
        "better": Ours(Costs(2_010_000, 10**9, 2 * 10**9), {0: outcome(other), 1: outcome(other)})._replace(**better),
        "absent": Ours(),
    }
    return render(TABLE, TABLE.entries, found, "Ours: on birds.")


def test_what_differs_from_print_is_marked_and_explained():
    rows = cells(everything())
    assert rows["base"]["parameters, M"] == "1.50"
    assert rows["better"]["parameters, M"] == "2.01 ≠"
    assert rows["better"]["parameters in print"] == "2.00"
    assert "better [1]" in everything()
    assert "\n1. print is wrong.\n2. not built: nobody says how.\n" in everything()


def test_accuracies_have_their_intervals_and_differences():
    rows = cells(everything())
    # Wilson's interval of 3 and of 5 in 10; both seeds are equal.
    assert rows["base"]["Top-1, %"] == "30.0 (10.8 to 60.3) ±0.0"
    assert rows["better"]["Top-1, %"] == "50.0 (23.7 to 76.3) ±0.0"
    assert rows["better"]["Δ Top-1, %"].startswith("+20.0 (+0.0 to +5")
    assert rows["base"]["Δ Top-1, %"] == "-"
    assert rows["base"]["seeds"] == "2"
    assert rows["better"]["inconsistency"] == "0.25"


def test_what_is_not_known_is_left_out():
    text = render(TABLE, [BASE, ABSENT], {entry.label: Ours() for entry in TABLE.entries}, "Ours: on birds.")
    rows = cells(text)
    assert list(rows["base"]) == ["#", "row", "parameters in print", "Top-1 in print"]
    assert rows["absent"]["parameters in print"] == "-"
    assert rows["absent"]["#"] == "3"
    assert "Ours: on birds" not in text
    assert "Ours: on birds" in everything()


@pytest.mark.parametrize("tests", [{0: outcome(RIGHT, "b")}, {7: outcome(RIGHT)}])
def test_rows_tested_on_other_videos_or_seeds_are_not_subtracted(tests):
    text = everything(tested=tests)
    assert cells(text)["better"].get("Δ Top-1, %", "-") == "-"
    assert "print is wrong; was not tested on the same videos" in text


def test_a_problem_is_told_in_the_row():
    assert "1. print is wrong; this needs an extra.\n" in everything(problem="this needs an extra.")


def test_time_on_a_gpu_is_absolute_and_on_a_cpu_a_ratio():
    assert cells(everything(measured=Measured(0.5, 2.0)))["better"]["clips/s"] == "×2.00"
    row = cells(everything(measured=Measured(0.5, 2.0, 100.4, 0.25)))["better"]
    assert (row["clips/s"], row["memory, MiB"]) == ("2.0 ×2.00", "100 ×0.25")


def test_a_model_is_timed_beside_its_reference():
    found = measure(Counted("small3d", 4, 16), Counted(enhancer="light", frames=4, size=16), "cpu", rounds=1)
    assert found.seconds > 0
    assert found.speed_ratio > 0
    assert (found.memory_mib, found.memory_ratio) == (None, None)


def test_a_model_beside_itself_is_as_fast_as_itself():
    assert measure(Counted("small3d", 4, 16), Counted("small3d", 4, 16), "cpu", rounds=1).speed_ratio == 1
