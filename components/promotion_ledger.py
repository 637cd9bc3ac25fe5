"""The ledger of promotions: one file an entry, numbered, made once and never written again.

An entry comes into being whole and only where no other has its number, on disk and on S3 alike; so of two that are
written at the same moment one fails. Each holds the sha256 of the one before, so that a change of the past shows.
"""

import hashlib
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.exceptions import ClientError

from components.storage import Folder
from dtcm.errors import BadInput

Entry = dict[str, Any]


@dataclass(frozen=True)
class Ledger:
    """A folder of entries 000001.json, 000002.json, ..."""

    folder: Folder

    def entries(self) -> list[Entry]:
        """All entries, oldest first. Raises BadInput if one is missing or was changed."""
        found, digest = [], ""
        for number, name in enumerate(self.folder.names(), start=1):
            content = self.folder.read(name)
            entry = json.loads(content)
            if name != _name(number) or entry["before_sha256"] != digest:
                raise BadInput(
                    f"The ledger {self.folder.uri} was changed at entry {number}, {name}; restore it from a copy."
                )
            found.append(entry)
            digest = hashlib.sha256(content).hexdigest()
        return found

    def append(self, seen: int, entry: Entry) -> bool:
        """Write the entry that follows the first `seen` ones; False if another has taken its place."""
        before = hashlib.sha256(self.folder.read(_name(seen))).hexdigest() if seen else ""
        content = json.dumps({**entry, "number": seen + 1, "before_sha256": before}, indent=2, ensure_ascii=False)
        return create(self.folder, _name(seen + 1), content.encode())


def create(folder: Folder, name: str, content: bytes) -> bool:
    """Write a file, whole, unless one of this name exists; returns whether it was written."""
    if not folder.is_local:
        return _create_in_s3(folder, name, content)
    target = Path(folder.uri) / name
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{name}.{uuid.uuid4().hex}")
    try:
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, target)  # unlike a rename, a link never replaces
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def _create_in_s3(folder: Folder, name: str, content: bytes) -> bool:
    """A conditional put, which pyarrow's file system does not know."""
    place = urlsplit(folder.uri)
    options = {key: values[-1] for key, values in parse_qs(place.query).items()}
    endpoint = options.get("endpoint_override")
    client = boto3.client(
        "s3",
        endpoint_url=f"{options.get('scheme', 'https')}://{endpoint}" if endpoint else None,
        region_name=options.get("region"),
    )
    try:
        client.put_object(Bucket=place.netloc, Key=f"{place.path.strip('/')}/{name}", Body=content, IfNoneMatch="*")
    except ClientError as error:
        if error.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict"):
            return False
        raise
    return True


def _name(number: int) -> str:
    return f"{number:06d}.json"
