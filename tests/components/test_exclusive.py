import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from components import exclusive
from components.exclusive import LOCK, Taken, create, locked
from components.storage import Folder
from dtcm.errors import BadInput
from tests.support.processes import wait_for
from tests.support.servers import ROOT


def holder_of(folder):
    (name,) = (folder / LOCK).names()
    return name, json.loads((folder / LOCK).read(name))


def claim(folder, number, **facts):
    """A lock file as another process leaves it."""
    holder = {"token": "x", "host": "elsewhere", "pid": 1, "time_s": time.time()} | facts
    (folder / LOCK).write(f"{number:06d}.json", json.dumps(holder).encode())


def test_of_many_that_make_a_file_one_does(folder):
    ready = Barrier(8)

    def attempt(number):
        ready.wait()
        return create(folder, "one", str(number).encode())

    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(attempt, range(8)))
    assert sum(made) == 1
    assert folder.read("one") == str(made.index(True)).encode()


def test_a_put_whose_answer_is_lost_has_made_the_file(s3, proxied_s3, tmp_path):
    """The store has taken it, the reply is cut off, and boto3 asks again."""
    lost = iter(["lost"])
    proxy = proxied_s3(lambda number, command, path: next(lost, None) if command == "PUT" else None)
    folder = Folder(f"{s3}/{tmp_path.name}{proxy.options}")
    assert create(folder, "entry", b"mine")
    assert [fault for _, _, fault in proxy.failures] == ["lost"]
    assert not create(folder, "entry", b"another's")
    assert folder.read("entry") == b"mine"


def test_a_lock_is_held_by_one_and_given_back(folder):
    with locked(folder, "The sweep"):
        with (
            pytest.raises(BadInput, match=f"The sweep is being run by process {os.getpid()}"),
            locked(folder, "The sweep"),
        ):
            pass
        assert holder_of(folder)[1]["pid"] == os.getpid()
    assert (folder / LOCK).names() == []
    with locked(folder, "The sweep"):
        assert holder_of(folder)[0] == "000001.json"


def test_a_lock_of_a_dead_process_is_taken_over(tmp_path):
    folder = Folder(str(tmp_path))
    hold = "import sys, os, signal; from components.storage import Folder; from components.exclusive import locked\n"
    hold += "with locked(Folder(sys.argv[1]), 'x'): os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", hold, folder.uri], cwd=ROOT)
    assert holder_of(folder)[0] == "000001.json"
    with locked(folder, "The sweep"):
        assert holder_of(folder)[0] == "000002.json"
    assert (folder / LOCK).names() == []


@pytest.mark.parametrize(("silent_s", "taken"), [(10, False), (1000, True)])
def test_a_lock_of_another_machine_is_taken_over_once_it_is_silent(folder, silent_s, taken):
    assert socket.gethostname() != "elsewhere"
    claim(folder, 7, time_s=time.time() - silent_s)
    if taken:
        with locked(folder, "The sweep"):
            assert holder_of(folder)[0] == "000008.json"
    else:
        with pytest.raises(BadInput, match="process 1 of elsewhere"), locked(folder, "The sweep"):
            pass


def test_of_many_that_take_over_at_once_one_does(folder):
    claim(folder, 3, time_s=0.0)
    ready, won = Barrier(8), []

    def attempt(_):
        ready.wait()
        try:
            with locked(folder, "The sweep"):
                won.append(1)
                over.wait()
        except Taken:
            over.wait()

    over = Barrier(8)  # the winner holds the lock until all others have been refused
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(attempt, range(8)))
    assert won == [1]
    assert (folder / LOCK).names() == []


TAKE = """
import os, sys
from components.exclusive import Taken, locked
from components.storage import Folder
folder, times = Folder(sys.argv[1]), 1000
while times:
    try:
        with locked(folder, "The sweep"):
            os.mkdir(f"{folder.uri}/held")  # FileExistsError if the other holds the lock too
            os.rmdir(f"{folder.uri}/held")
            times -= 1
    except Taken:
        pass
"""


def test_two_that_take_it_in_turn_never_hold_it_at_once(tmp_path):
    both = [subprocess.Popen([sys.executable, "-c", TAKE, str(tmp_path)], cwd=ROOT) for _ in range(2)]
    assert [one.wait() for one in both] == [0, 0]
    assert not list(tmp_path.iterdir())


def test_a_holder_shows_that_it_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(exclusive, "BEAT_S", 0.01)
    folder = Folder(str(tmp_path))
    with locked(folder, "The sweep"):
        first = holder_of(folder)[1]["time_s"]
        assert wait_for(lambda: holder_of(folder)[1]["time_s"] > first, "a beat")


def test_a_holder_that_was_replaced_leaves_the_others_lock_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(exclusive, "BEAT_S", 0.01)
    folder, printed = Folder(str(tmp_path)), []
    with locked(folder, "The sweep"):
        claim(folder, 2, token="theirs")
        wait_for(lambda: printed.append(capsys.readouterr().out) or "taken over" in "".join(printed), "the next beat")
    assert json.loads((folder / LOCK).read("000002.json"))["token"] == "theirs"
