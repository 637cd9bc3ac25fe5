"""What the tests of faults share."""

import pytest

from tests.support.runs import upload


@pytest.fixture
def bucket_root(s3, tiny_root, tmp_path):
    """A place in the bucket with the tiny videos in its folder `tiny`."""
    upload(tiny_root, f"{s3}/{tmp_path.name}/tiny")
    return f"{s3}/{tmp_path.name}"
