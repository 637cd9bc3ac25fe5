"""What a process frees is there for the next tensor of that size: its page faults are counted."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, threading
import torch
from dtcm.heap import keep_freed_memory

def faults_of_a_step(shape=(16, 64, 112, 112)):  # of 51 MB, which glibc gives back at once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(shape).mul_(2)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def steps():
    kept = keep_freed_memory() if sys.argv[1] == "kept" else None
    print(kept, *(faults_of_a_step() for _ in range(30)))

if sys.argv[2] == "thread":  # as Ray Train runs a worker's function
    thread = threading.Thread(target=steps)
    thread.start()
    thread.join()
else:
    steps()
"""
PAGES = 16 * 64 * 112 * 112 * 4 // 4096


def late_faults(how, where):
    """What was answered, and the faults of steps 21 to 30: the heap first grows until it has room for all."""
    command = [sys.executable, "-c", PROGRAM, how, where]
    kept, *faults = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.split()
    return kept, [int(of_step) for of_step in faults[20:]]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's heap can be told to keep what is freed")
@pytest.mark.parametrize("where", ["main", "thread"])
def test_freed_memory_is_used_again(where):
    kept, faults = late_faults("kept", where)
    assert kept == "True"
    assert max(faults) < PAGES // 1000
    _, faults = late_faults("given back", where)
    assert min(faults) > PAGES // 600  # huge pages, where the system makes them, are 512 of these
