import os
import signal
import threading
import time

import pytest

from components.notice import STOP, check_not_stopped, run_stoppable
from components.runs import Run
from components.storage import Folder
from dtcm.config import Experiment
from dtcm.errors import Stopped

DEADLINE_S = 60


@pytest.fixture
def run(tmp_path):
    return Run("run", Folder(str(tmp_path)), Experiment())


def send_and_wait(run, number):
    """What a training does of which the driver is sent a signal: it goes on until it finds STOP."""
    os.kill(os.getpid(), number)
    end_s = time.monotonic() + DEADLINE_S
    while not run.folder.has(STOP):
        assert time.monotonic() < end_s
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_driver_becomes_a_notice_for_the_workers(run, number, status, capsys):
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    run_stoppable(run, lambda: send_and_wait(run, number))
    assert "Stopping after the step in hand" in capsys.readouterr().out
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)] == before
    with pytest.raises(Stopped, match=r"checkpoint of step 7; the same command goes on") as stopped:
        check_not_stopped(run, step=7)
    assert stopped.value.status == status
    check_not_stopped(run, step=7)  # said once


@pytest.fixture
def python_takes_ctrl_c():
    """As in a shell; a process that was started in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_signal_ends_at_once(run, python_takes_ctrl_c):
    over = threading.Event()

    def train():
        send_and_wait(run, signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        over.wait(DEADLINE_S)

    with pytest.raises(KeyboardInterrupt):
        run_stoppable(run, train)
    over.set()


@pytest.mark.parametrize("content", [b"", b"\n", b"please\n"])
def test_a_person_stops_a_run_by_a_file_whatever_is_in_it(run, content):
    run.folder.write(STOP, content)
    with pytest.raises(Stopped) as stopped:
        check_not_stopped(run, step=7)
    assert stopped.value.status == 143


def test_errors_of_what_runs_come_out_in_any_thread(run):
    def fail():
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        run_stoppable(run, fail)
    found = []

    def elsewhere():
        with pytest.raises(OSError, match="gone"):
            run_stoppable(run, fail)
        found.append(True)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found
