"""Reads the variables of a TensorFlow checkpoint without TensorFlow.

A checkpoint "model.ckpt" is an index, a sorted string table of LevelDB's format
(https://github.com/google/leveldb/blob/main/doc/table_format.md) from names to BundleEntryProto messages
(tensorflow/core/protobuf/tensor_bundle.proto), and data files with the bytes that these point to.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dtcm.errors import BadInput

FOOTER_BYTES = 48
MAGIC = 0xDB4775248B80FB57
FLOAT32 = 1
"""DT_FLOAT of TensorFlow's DataType."""


def read_checkpoint(prefix: Path) -> dict[str, Tensor]:
    """Name -> value of the float32 variables of a checkpoint that is named without ".index".

    Raises BadInput if a file is missing, cut off or of another kind.
    """
    try:
        return {name: _value(prefix, entry) for name, entry in _entries(prefix) if entry.get(1) == FLOAT32}
    except OSError as error:
        raise BadInput(f"{error.filename} cannot be read; a checkpoint needs its .index and .data files.") from error
    except (IndexError, ValueError, struct.error) as error:
        raise BadInput(f"{prefix}.index is no checkpoint of TensorFlow, or is cut off; download it again.") from error


def _entries(prefix: Path) -> Iterator[tuple[str, dict]]:
    """Each variable's name and BundleEntryProto, from the blocks to which the table's index points."""
    table = prefix.with_name(f"{prefix.name}.index").read_bytes()
    if len(table) < FOOTER_BYTES or struct.unpack("<Q", table[-8:])[0] != MAGIC:
        raise ValueError("no table")
    _, _, offset, size, *_ = _varints(table[-FOOTER_BYTES:-8])
    for _, handle in _block(table, offset, size):
        offset, size, *_ = _varints(handle)
        for key, value in _block(table, offset, size):
            if key:  # the empty key holds the header
                yield key.decode(), _message(value)


def _value(prefix: Path, entry: dict) -> Tensor:
    shards = list(prefix.parent.glob(f"{prefix.name}.data-{entry.get(3, 0):05d}-of-*"))
    if not shards:
        raise FileNotFoundError(2, "no data file", f"{prefix}.data-*")
    with shards[0].open("rb") as file:
        file.seek(entry.get(4, 0))
        content = file.read(entry[5])
    shape = [_message(dim).get(1, 0) for dim in _repeated(entry.get(2, b""), 2)]
    return torch.from_numpy(np.frombuffer(content, "<f4").reshape(shape).copy())


def _block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block. A key is stored as what it shares with the one before, and the rest."""
    if table[offset + size] != 0:
        raise ValueError("compressed")  # TensorFlow never compresses its index
    block = table[offset : offset + size]
    end = size - 4 - 4 * struct.unpack("<I", block[-4:])[0]  # the restart points stand behind
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        rest, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + rest]
        at += rest + length
        yield key, block[at - length : at]


def _message(content: bytes) -> dict:
    """Field number -> last value of a protocol buffer message."""
    return dict(_fields(content))


def _repeated(content: bytes, number: int) -> list[bytes]:
    return [value for field, value in _fields(content) if field == number and isinstance(value, bytes)]


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        if tag & 7 == 0:
            value, at = _varint(content, at)
        else:
            length, at = _varint(content, at) if tag & 7 == 2 else ({5: 4, 1: 8}[tag & 7], at)
            value = content[at : at + length]
            at += length
        yield tag >> 3, value


def _varints(content: bytes) -> list[int]:
    at, values = 0, []
    while at < len(content):
        value, at = _varint(content, at)
        values.append(value)
    return values


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, low ones first, and where the next thing begins."""
    value = shift = 0
    while content[at] & 0x80:
        value |= (content[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | content[at] << shift, at + 1
