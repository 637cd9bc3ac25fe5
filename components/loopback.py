"""Keeps what listens on loopback: the ports of a cluster that is this machine alone concern nobody else."""

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from ray._private import ray_constants
from torch.distributed import TCPStore


@contextmanager
def loopback() -> Generator[None]:
    """A Ray cluster started in a `with` block listens on loopback alone, and so do torch's processes in its workers.

    No argument of `ray.init` does it: an address of loopback is replaced by the machine's. So this is the switch by
    which Ray itself stays on loopback on macOS and Windows; Ray's processes read it from the environment, this one has
    read it already. A user's own choice of interfaces stands.
    """
    name = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
    chosen = {variable: os.environ.get(variable, name) for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")}
    chosen[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    before, clusters = {variable: os.environ.get(variable) for variable in chosen}, ray_constants.ENABLE_RAY_CLUSTER
    os.environ.update(chosen)
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clusters
        for variable, value in before.items():
            if value is None:
                del os.environ[variable]
            else:
                os.environ[variable] = value


def bind_store() -> None:
    """In a worker, before torch's processes meet: where that is on loopback, their store listens there alone.

    torch itself lets it listen at every address of the machine, and it asks nobody for a token.
    """
    # An import statement would find the function of the same name.
    setattr(import_module("torch.distributed.rendezvous"), "TCPStore", _store)  # noqa: B010


def _store(host_name: str, port: int, *arguments: Any, is_master: bool = False, **named: Any) -> TCPStore:
    if is_master and host_name in ("127.0.0.1", "localhost"):
        named["master_listen_fd"] = socket.create_server((host_name, port)).detach()
    return TCPStore(host_name, port, *arguments, is_master=is_master, **named)
