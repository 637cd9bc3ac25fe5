"""Child processes end with their parent."""

import os
import select
import signal
import subprocess
import sys
import threading

import pytest

from dtcm.children import Child, ChildDied, ChildIsLate
from tests.support.processes import wait_for

POOL = """
import os
from dtcm.children import process_pool

if __name__ == "__main__":
    pool = process_pool(1)
    print(pool.submit(os.getpid).result(), flush=True)
    input()
"""
BUSY = """
import time
from dtcm.children import Child

if __name__ == "__main__":
    child = Child(time.sleep)
    child.begin(1000)
    print(child.pid, flush=True)
    input()
"""


@pytest.mark.parametrize("source", [POOL, BUSY], ids=["pool", "busy"])
def test_the_child_of_a_killed_process_ends(source, tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(source)
    parent = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout
    child = os.pidfd_open(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    # Its descriptor becomes readable when it ends.
    assert select.select([child], [], [], 60)[0]


def shout(word):
    if word == "raise":
        raise ValueError("as asked")
    if word == "die":
        os._exit(1)
    if word == "wait":
        signal.pause()
    return word.upper()


def test_a_child_answers_in_order_with_values_and_errors():
    child = Child(shout)
    for word in ("one", "raise", "two"):
        child.begin(word)
    assert child.pending == 3
    assert child.result(60) == "ONE"
    with pytest.raises(ValueError, match="as asked"):
        child.result(60)
    assert child.answers_within(60)
    assert child.result(60) == "TWO"
    assert child.pending == 0
    assert not child.answers_within(0)
    child.kill()
    assert not child.is_alive()


def test_a_child_that_dies_or_is_late_says_so():
    child = Child(shout)
    child.begin("die")
    child.begin("one")
    with pytest.raises(ChildDied):
        child.result(60)
    wait_for(lambda: not child.is_alive(), "its end")
    child.begin("two")  # into a closed pipe
    with pytest.raises(ChildDied):
        child.result(60)
    child = Child(shout)
    child.begin("wait")
    with pytest.raises(ChildIsLate):
        child.result(0.01)
    child.kill()


def test_the_time_that_a_child_takes_to_start_is_no_call_s():
    child = Child(shout)
    os.kill(child.pid, signal.SIGSTOP)  # long before it has imported anything
    child.begin("one")
    start = threading.Timer(6, os.kill, (child.pid, signal.SIGCONT))
    start.start()
    assert child.result(5) == "ONE"
    child.kill()


def test_a_child_that_never_starts_is_late(monkeypatch):
    monkeypatch.setattr("dtcm.children.START_S", 0.01)
    child = Child(shout)
    os.kill(child.pid, signal.SIGSTOP)
    child.begin("one")
    with pytest.raises(ChildIsLate):
        child.result(60)
    child.kill()
