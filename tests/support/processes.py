"""Seeing, stopping and awaiting what processes do."""

import os
import signal
import time
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

DEADLINE_S = 400


def wait_for(condition, what):
    """What a condition gives as soon as it is true of anything."""
    end_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < end_s:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {DEADLINE_S} s for {what}")


def processes():
    """Parent and command line of every living process; a worker of Ray names there what it does."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    found[int(folder.name)] = (int(parent), (folder / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
    return found


def below(root, word="", of=None):
    """Pids of the processes that a process started, and they in turn, whose command lines contain a word."""
    known = of or processes()
    children = [pid for pid, (parent, _) in known.items() if parent == root]
    deeper = [pid for child in children for pid in below(child, word, known)]
    return [pid for pid in children if word in known[pid][1]] + deeper


def threads(pid):
    """Names of a process's threads, as libraries call theirs; Python's all have the process's own."""
    return [(folder / "comm").read_text().strip() for folder in Path(f"/proc/{pid}/task").iterdir()]


def stopped_at(pid, word):
    """Stop a process; whether it then is what it was taken for. It goes on if not."""
    try:
        os.kill(pid, signal.SIGSTOP)
        if word in processes()[pid][1]:
            return True
        os.kill(pid, signal.SIGCONT)
    except (ProcessLookupError, KeyError):
        pass
    return False


@contextmanager
def still(pid, word):
    """A process, which is what it is taken for, stands still for a `with` block."""
    assert stopped_at(pid, word)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def kill_with_all_it_started(process):
    """SIGKILL to a process and those below it; all stand still first, so that none sees another die."""
    pids = [process.pid, *below(process.pid)] if process.poll() is None else []
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
    process.wait()


def finished(process):
    """The output of a process that ends well."""
    output = process.communicate()[0]
    assert process.returncode == 0, output
    return output


def listening(pids):
    """The address of every TCP socket that these processes listen on, with its process's command line."""
    inodes = {}
    for table in Path("/proc/net").glob("tcp*"):  # tcp, and tcp6 where there is IPv6
        for line in table.read_text().splitlines()[1:]:
            _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
            if state == "0A":  # TCP_LISTEN
                words = bytes.fromhex(local.partition(":")[0])
                address = ip_address(b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4)))
                inodes[f"socket:[{inode}]"] = getattr(address, "ipv4_mapped", None) or address
    found = set()
    for pid in pids:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
            links = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
        except OSError:  # it has ended
            continue
        found |= {(inodes[link], command) for link in links & inodes.keys()}
    return found
