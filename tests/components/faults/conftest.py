"""What the tests of faults share."""

import os
import subprocess

import pytest

from tests.support.runs import upload


@pytest.fixture
def bucket_root(s3, tiny_root, tmp_path):
    """A place in the bucket with the tiny videos in its folder `tiny`."""
    upload(tiny_root, f"{s3}/{tmp_path.name}/tiny")
    return f"{s3}/{tmp_path.name}"


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a file system of a given size; gives its folder, and a way to make it larger."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    place = tmp_path / "disk"
    place.mkdir()

    def mount(size_bytes, *options):
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size_bytes}", *options]), "tmpfs", place], check=True
        )
        return place

    yield mount
    subprocess.run(["umount", "-l", place], check=True)
