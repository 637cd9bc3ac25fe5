"""A checkpoint that TensorFlow 2.21's tf.compat.v1.train.Saver wrote, and files that must be refused."""

import pytest
import torch

from dtcm.enhancement.tensorflow import read_checkpoint
from dtcm.errors import BadInput

INDEX = bytes.fromhex(
    "00000608011a020801000f0f6e65742f636f6e762f62696173657308011204120208042810352070e37909071d77656967687473080112"
    "101202080112020802120208031202080420102860351f34551304060d7363616c61720801120020702804355fcf8bb505030d74657008"
    "0912002074280835f2fe5b9d000000000100000000fc031a38000000000100000000c0f2a1b00001036f0082010000000001000000007e"
    "e6b62387010894010f0000000000000000000000000000000000000000000000000000000000000000000057fb808b247547db"
)
"""net/conv/weights = arange(24).reshape(1, 2, 3, 4) / 8, net/conv/biases, net/scalar and the integer net/step."""
DATA = bytes.fromhex(
    "0000803f000000c00000003f00000000000000000000003e0000803e0000c03e0000003f0000203f0000403f0000603f0000803f000090"
    "3f0000a03f0000b03f0000c03f0000d03f0000e03f0000f03f000000400000084000001040000018400000204000002840000030400000"
    "38400000e0402c01000000000000"
)


@pytest.fixture
def checkpoint(tmp_path):
    (tmp_path / "model.ckpt.index").write_bytes(INDEX)
    (tmp_path / "model.ckpt.data-00000-of-00001").write_bytes(DATA)
    return tmp_path / "model.ckpt"


def test_float_variables_are_read_with_names_and_shapes(checkpoint):
    variables = read_checkpoint(checkpoint)
    assert sorted(variables) == ["net/conv/biases", "net/conv/weights", "net/scalar"]
    assert torch.equal(variables["net/conv/weights"], torch.arange(24.0).reshape(1, 2, 3, 4) / 8)
    assert variables["net/conv/biases"].tolist() == [1, -2, 0.5, 0]
    assert variables["net/scalar"].shape == ()
    assert variables["net/scalar"] == 7


def test_a_missing_file_is_named(checkpoint):
    (checkpoint.parent / "model.ckpt.data-00000-of-00001").unlink()
    with pytest.raises(BadInput, match=r"model\.ckpt\.data.*needs its \.index and \.data"):
        read_checkpoint(checkpoint)
    with pytest.raises(BadInput, match=r"other\.index cannot be read"):
        read_checkpoint(checkpoint.with_name("other"))


@pytest.mark.parametrize("content", [b"", b"not a table" * 9, INDEX[:-30], INDEX[40:], INDEX[:60] + INDEX[-48:]])
def test_other_and_shortened_files_are_refused(checkpoint, content):
    (checkpoint.parent / "model.ckpt.index").write_bytes(content)
    with pytest.raises(BadInput, match="no checkpoint of TensorFlow"):
        read_checkpoint(checkpoint)


def test_a_shortened_data_file_is_refused(checkpoint):
    (checkpoint.parent / "model.ckpt.data-00000-of-00001").write_bytes(DATA[:50])
    with pytest.raises(BadInput, match="cut off"):
        read_checkpoint(checkpoint)
