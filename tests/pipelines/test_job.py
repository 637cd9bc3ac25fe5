"""Training as a submitted Ray job, against a real cluster of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
RAY = Path(sys.executable).with_name("ray")


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def job_cluster(tmp_path_factory):
    """Environment of a head node with a dashboard on loopback, stopped by ending its own process."""
    gcs, dashboard, agent, client = free_ports(4)
    # A folder of its own, short for the sake of socket names: Ray leaves the cluster's address in it, and a
    # later cluster that found a dead one there would wait for it.
    folder = tempfile.mkdtemp(prefix="ray-")
    environment = os.environ | {
        "RAY_AUTH_MODE": "disabled",
        "PATH": f"{RAY.parent}{os.pathsep}{os.environ['PATH']}",
        "RAY_ADDRESS": f"http://127.0.0.1:{dashboard}",
        "HOME": str(tmp_path_factory.mktemp("home")),
    }
    head = subprocess.Popen(
        [
            RAY, "start", "--head", "--block", f"--port={gcs}", "--num-cpus=4", "--dashboard-host=127.0.0.1",
            f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}",
            f"--ray-client-server-port={client}", f"--temp-dir={folder}", "--disable-usage-stats",
        ],
        env={name: value for name, value in environment.items() if name != "RAY_ADDRESS"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    for line in head.stdout or ():
        if "Ray runtime started" in line:
            break
    yield environment
    os.killpg(head.pid, signal.SIGKILL)  # the head and all that it started; an orderly end takes half a minute
    head.wait()
    shutil.rmtree(folder, ignore_errors=True)


def submit(environment, *entrypoint):
    command = [RAY, "job", "submit", "--working-dir", ".", "--", "python", *entrypoint]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)


def test_a_submitted_job_trains_and_a_failing_one_fails(job_cluster, tiny_root, tmp_path):
    settings = [
        f"--experiment.data.root={tiny_root}", "--experiment.data.frames=8", "--experiment.data.stride=1",
        "--experiment.data.width-px=40", "--experiment.data.height-px=30", "--experiment.data.crop-px=24",
        "--experiment.optim.epochs=1", f"--settings.storage={tmp_path}",
    ]  # fmt: skip
    done = submit(job_cluster, "pipelines/train_arid.py", *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Test:" in done.stdout
    (folder,) = (tmp_path / tiny_root.name / "split1").iterdir()
    assert (folder / "result.json").exists()

    failed = submit(job_cluster, "pipelines/train_arid.py", "--experiment.data.root=/nowhere")
    assert failed.returncode != 0
    assert "There is no folder '/nowhere'" in failed.stdout + failed.stderr
