"""Fixtures of the tests of what runs on a cluster."""

import pytest

from components.storage import Folder


@pytest.fixture(params=["disk", "s3"])
def folder(request, tmp_path):
    """An empty folder for runs and sweeps, on disk and in a bucket."""
    if request.param == "disk":
        return Folder(str(tmp_path / "folder"))
    return Folder(request.getfixturevalue("s3")) / tmp_path.name
