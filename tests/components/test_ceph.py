"""Index, training and resume against a real object store: Ceph's S3 gateway, started for these tests.

Needs Debian's packages ceph-mon, ceph-osd, ceph-common and radosgw: `make test-ceph` installs them. Ceph, unlike
the server of the other tests, checks signatures and refuses requests that real stores refuse.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import boto3
import pyarrow.parquet as pq
import pytest

from dtcm.data.files import filesystem, read_bytes, read_table
from tests.support.processes import finished
from tests.support.runs import upload
from tests.support.servers import ROOT, free_ports

pytestmark = [pytest.mark.ceph, pytest.mark.timeout(900)]

CONFIG = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = {home}/keyring
run dir = {home}
admin socket = {home}/$cluster-$name.asok
log file = {home}/$name.log
pid file = {home}/$name.pid
mon data = {home}/mon
osd data = {home}/osd
osd objectstore = memstore
memstore device bytes = 1073741824
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data avail crit = 1
mon max pg per osd = 1000
[client.gateway]
rgw frontends = beast endpoint=127.0.0.1:{http}
rgw thread pool size = 16
rgw crypt require ssl = false
rgw override bucket index max shards = 1
"""


@pytest.fixture(scope="module")
def ceph(tmp_path_factory):
    """Environment variables by which a bucket store on loopback is found: a monitor, one OSD in memory, the gateway."""
    home = tmp_path_factory.mktemp("ceph")
    v1, v2, http = free_ports(3)
    fsid, osd = uuid.uuid4(), uuid.uuid4()
    config = home / "ceph.conf"
    config.write_text(CONFIG.format(fsid=fsid, v1=v1, v2=v2, http=http, home=home))

    def do(command, *arguments, **options):
        return subprocess.run(
            [command, *map(str, arguments)], check=True, cwd=home, stdout=subprocess.DEVNULL, **options
        )

    caps = {"mon.": ["mon"], "client.admin": ["mon", "osd", "mgr"], "osd.0": ["mon", "osd", "mgr"]}
    (home / "keyring").touch()
    for name, parts in (caps | {"client.gateway": ["mon", "osd"]}).items():
        granted = [word for part in parts for word in ("--cap", part, "allow *")]
        do("ceph-authtool", home / "keyring", "--gen-key", "-n", name, *granted)
    address = f"[v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]"
    do("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, home / "monmap")
    for name in ("mon", "osd"):
        (home / name).mkdir()
    try:
        do("ceph-mon", "-c", config, "--mkfs", "-i", "a", "--monmap", home / "monmap")
        do("ceph-mon", "-c", config, "-i", "a")
        do("ceph", "-c", config, "osd", "new", osd, 0)
        do("ceph-osd", "-c", config, "-i", 0, "--mkfs", "--osd-uuid", osd, stderr=subprocess.DEVNULL)
        do("ceph-osd", "-c", config, "-i", 0)
        do("radosgw", "-c", config, "-n", "client.gateway")
        wait_for_port(http)
        who = ["--uid=test", "--display-name=test", "--access-key=key", "--secret-key=secret"]
        do("radosgw-admin", "-c", config, "-n", "client.gateway", "user", "create", *who)
        with pytest.MonkeyPatch.context() as patch:
            environment = {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{http}",
                "AWS_ACCESS_KEY_ID": "key",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            }
            for name, value in environment.items():
                patch.setenv(name, value)
            yield
    finally:
        for pid in home.glob("*.pid"):
            os.kill(int(pid.read_text()), signal.SIGKILL)


def wait_for_port(port):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise TimeoutError(f"nothing listens at port {port}")


def start(script, *arguments):
    command = [sys.executable, "-m", f"pipelines.{script}", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def train(root, storage, tracking, kill=False):
    """The output of a training on 24 tiny videos; with `kill`, of one that is killed after its first epoch."""
    values = {"root": root, "dataset": "tiny", "frames": 8, "stride": 1, "width-px": 40, "height-px": 30, "crop-px": 24}
    flags = [f"--experiment.data.{name}={value}" for name, value in values.items()]
    flags += ["--experiment.data.val-fraction=0.3", "--experiment.optim.epochs=6", "--settings.run=run"]
    process = start(
        "train_arid", *flags, f"--settings.storage={storage}", f"--settings.tracking-uri=sqlite:///{tracking}"
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if kill and line.startswith("epoch") and "val" in line:
            process.send_signal(signal.SIGKILL)
    assert process.wait() == (-signal.SIGKILL if kill else 0), "".join(lines)
    return "".join(lines)


def test_index_training_and_resume_on_s3_equal_those_on_disk(ceph, tiny_root, tmp_path):
    store = boto3.client("s3")
    for bucket in ("videos", "runs"):
        store.create_bucket(Bucket=bucket)
    videos = Path(shutil.copytree(tiny_root, tmp_path / "videos"))
    upload(videos, "s3://videos/tiny")

    for root, out in (("s3://videos/tiny", "s3://runs/index.parquet"), (videos, tmp_path / "index.parquet")):
        process = start("index_videos", root, "--out", out)
        assert "24 videos can be used, 0 are in quarantine" in finished(process)
    system, path = filesystem("s3://runs/index.parquet")
    there, here = pq.read_table(path, filesystem=system), pq.read_table(tmp_path / "index.parquet")
    places = ["path", "modified_s"]
    assert there.drop_columns(places).equals(here.drop_columns(places))

    train("s3://videos/tiny", "s3://runs/dtcm", tmp_path / "remote.db", kill=True)
    resumed = train("s3://videos/tiny", "s3://runs/dtcm", tmp_path / "remote.db")
    assert ", from step " in resumed
    train(videos, tmp_path / "runs", tmp_path / "local.db")
    run = "tiny/split1/run"
    places = (f"s3://runs/dtcm/{run}", str(tmp_path / "runs" / run))
    one, other = (read_bytes(f"{place}/model/model.safetensors") for place in places)
    assert one == other
    one, other = (read_table(f"{place}/predictions.parquet") for place in places)
    assert one.equals(other)  # its metadata tell the speed
    there = losses(read_bytes(f"s3://runs/dtcm/{run}/metrics.jsonl"))
    assert there == losses((tmp_path / "runs" / run / "metrics.jsonl").read_bytes())
    assert len(there) == len({step for step, _ in there})


def losses(lines):
    rows = [json.loads(line) for line in lines.splitlines()]
    return [(row["step"], row["metrics"]["total"]) for row in rows if row["kind"] == "train"]
