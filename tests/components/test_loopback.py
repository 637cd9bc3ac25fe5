"""What a run on one machine listens on is out of reach of all others."""

import os
import subprocess
import sys
import time

import pytest

from tests.support.processes import below, listening
from tests.support.servers import ROOT, free_ports

STORE = """
import sys
import torch.distributed as dist
from components.loopback import bind_store
if sys.argv[2] == "bound":
    bind_store()
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{sys.argv[1]}", rank=0, world_size=1)
print("meets", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("way", ["bound", "torch's own"])
def test_the_store_of_torch_listens_where_it_is_told_to(way):
    command = [sys.executable, "-c", STORE, str(*free_ports(1)), way]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "meets\n"
        loopback = {address.is_loopback for address, _ in listening([process.pid])}
        assert loopback == {True} if way == "bound" else False in loopback


@pytest.mark.slow
def test_a_run_with_a_cluster_of_its_own_listens_on_loopback_alone(tiny, tmp_path):
    data = {"root": tiny.data.root, "frames": 8, "stride": 1, "width-px": 40, "height-px": 30, "crop-px": 24}
    command = [
        sys.executable, "pipelines/train_arid.py", "--settings.workers=2", f"--settings.storage={tmp_path}",
        *(f"--experiment.data.{name}={value}" for name, value in data.items()),
        "--experiment.data.val-fraction=0.3", "--experiment.optim.epochs=2",
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    process = subprocess.Popen(command, cwd=ROOT, env=environment | {"PYTHONPATH": str(ROOT)})
    seen = set()
    while process.poll() is None:
        seen |= listening([process.pid, *below(process.pid)])
        time.sleep(0.1)
    assert process.returncode == 0
    commands = {command for _, command in seen}
    for part in ("gcs_server", "raylet", "dashboard", "RayTrainWorker"):
        assert any(part in command for command in commands), commands
    assert not {(address, command) for address, command in seen if not address.is_loopback}
