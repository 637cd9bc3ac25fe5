import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from components import ledger as ledger_module
from components.ledger import Ledger, locked
from components.storage import Folder
from dtcm.errors import BadInput


@pytest.fixture(params=["disk", "s3"])
def folder(request, tmp_path):
    if request.param == "disk":
        return Folder(str(tmp_path / "sweep"))
    return Folder(f"{request.getfixturevalue('s3')}/{tmp_path.name}/sweep")


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


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(ledger_module, "SETTLE_S", 0.0)


def test_a_lock_is_held_by_one_and_given_back(folder):
    with locked(folder, "The sweep"):
        with (
            pytest.raises(BadInput, match=f"The sweep is being run by process {os.getpid()}"),
            locked(folder, "The sweep"),
        ):
            pass
        assert folder.has("LOCK")
    assert not folder.has("LOCK")
    with locked(folder, "The sweep"):
        pass


def test_a_lock_of_a_dead_process_is_taken_over(tmp_path):
    folder = Folder(str(tmp_path))
    hold = "import sys, os, signal; from components.storage import Folder; from components.ledger import locked\n"
    hold += "with locked(Folder(sys.argv[1]), 'x'): os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", hold, folder.uri], cwd=Path(__file__).parents[2])
    assert folder.has("LOCK")
    with locked(folder, "The sweep"):
        pass


@pytest.mark.parametrize(("silent_s", "taken"), [(10, False), (1000, True)])
def test_a_lock_of_another_machine_is_taken_over_once_it_is_silent(folder, silent_s, taken):
    holder = {"token": "x", "host": "elsewhere", "pid": 1, "time_s": ledger_module.time.time() - silent_s}
    assert holder["host"] != socket.gethostname()
    folder.write("LOCK", json.dumps(holder).encode())
    if taken:
        with locked(folder, "The sweep"):
            pass
    else:
        with pytest.raises(BadInput, match="process 1 of elsewhere"), locked(folder, "The sweep"):
            pass


def test_a_holder_shows_that_it_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger_module, "BEAT_S", 0.01)
    folder = Folder(str(tmp_path))
    with locked(folder, "The sweep"):
        first = json.loads(folder.read("LOCK"))["time_s"]
        deadline = ledger_module.time.monotonic() + 20
        while json.loads(folder.read("LOCK"))["time_s"] == first:
            assert ledger_module.time.monotonic() < deadline


def test_of_two_that_claim_a_lock_at_once_the_first_gives_way(tmp_path, monkeypatch):
    folder = Folder(str(tmp_path))

    def another_writes(_):
        ledger_module._write(folder, "another's")

    monkeypatch.setattr(ledger_module.time, "sleep", another_writes)
    with pytest.raises(BadInput, match="just been started by another"), locked(folder, "The sweep"):
        pass
