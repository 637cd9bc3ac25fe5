"""Child processes end with their parent."""

import os
import select
import signal
import subprocess
import sys

PARENT = """
import os
from dtcm.children import process_pool

if __name__ == "__main__":
    pool = process_pool(1)
    print(pool.submit(os.getpid).result(), flush=True)
    input()
"""


def test_the_child_of_a_killed_process_ends(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout
    child = os.pidfd_open(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    # Its descriptor becomes readable when it ends.
    assert select.select([child], [], [], 60)[0]
