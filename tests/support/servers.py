"""Servers of MLflow's and Ray's on free ports of loopback."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).parents[2]
RAY = Path(sys.executable).with_name("ray")
PATH = os.pathsep.join([str(RAY.parent), os.environ["PATH"]])
"""As in an activated environment."""


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start_mlflow(log, path, port, *command, **environment):
    """The process of a server of MLflow's, once `path` answers: arguments and environment as given."""
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *command, "--host", "127.0.0.1", "--port", str(port)],
            stdout=output, stderr=output, start_new_session=True, cwd=Path(log).parent,
            env=os.environ | {"PATH": PATH} | environment,
        )  # fmt: skip
    deadline_s = time.monotonic() + 120
    while True:
        try:
            urlopen(f"http://127.0.0.1:{port}{path}", timeout=5)
            return process
        except (URLError, OSError):
            assert process.poll() is None, Path(log).read_text()
            assert time.monotonic() < deadline_s, Path(log).read_text()
            time.sleep(0.2)


@contextmanager
def mlflow_server(log, path, *command, **environment):
    """The address of a server of MLflow's that answers at `path`, for a `with` block."""
    (port,) = free_ports(1)
    process = start_mlflow(log, path, port, *command, **environment)
    yield f"http://127.0.0.1:{port}"
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(30)


def start_ray(*arguments, **environment):
    """The process of `ray start`, once the node runs; it stays until it is ended."""
    process = subprocess.Popen(
        [RAY, "start", "--block", "--num-cpus=4", "--disable-usage-stats", *arguments],
        env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    for line in process.stdout or ():
        if "Ray runtime started" in line:
            return process
    raise AssertionError("ray start ended")


@contextmanager
def head_node(home):
    """Environment of a Ray cluster with a dashboard for jobs, for a `with` block; GCS is its address for drivers."""
    gcs, dashboard, agent, client = free_ports(4)
    # A folder of its own, short for the sake of socket names: Ray leaves the cluster's address in it, and a
    # later cluster that found a dead one there would wait for it.
    folder = tempfile.mkdtemp(prefix="ray-")
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "PATH": PATH, "HOME": str(home)}
    environment.pop("RAY_ADDRESS", None)
    head = start_ray(
        "--head", f"--port={gcs}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
        f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}", f"--temp-dir={folder}",
        **environment,
    )  # fmt: skip
    yield environment | {"RAY_ADDRESS": f"http://127.0.0.1:{dashboard}", "GCS": f"127.0.0.1:{gcs}"}
    os.killpg(head.pid, signal.SIGKILL)  # the head and all that it started; an orderly end takes half a minute
    head.wait()
    shutil.rmtree(folder, ignore_errors=True)
