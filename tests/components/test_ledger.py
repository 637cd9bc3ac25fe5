from components.ledger import Ledger
from components.storage import Folder


def test_events_come_back_in_order_and_the_last_says_how_a_trial_stands(folder):
    ledger = Ledger(folder)
    assert ledger.events() == []
    ledger.append("a", "started", seed=1)
    ledger.append("b", "started", seed=2)
    ledger.append("a", "finished", val={"top1": 0.5})
    assert [(event["trial"], event["event"]) for event in ledger.events()] == [
        ("a", "started"), ("b", "started"), ("a", "finished"),
    ]  # fmt: skip
    trials = Ledger(folder).trials()
    assert trials["a"]["event"] == "finished"
    assert (trials["a"]["seed"], trials["a"]["val"]) == (1, {"top1": 0.5})
    assert trials["b"]["event"] == "started"


def test_a_line_that_was_cut_off_is_left_out_and_spoils_no_other(tmp_path):
    ledger = Ledger(Folder(str(tmp_path)))
    ledger.append("a", "started")
    with (tmp_path / "trials.jsonl").open("a") as file:
        file.write('{"trial": "b", "eve')
    ledger.append("c", "started")
    assert [event["trial"] for event in ledger.events()] == ["a", "c"]
