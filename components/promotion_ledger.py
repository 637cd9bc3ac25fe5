"""The ledger of promotions: one file an entry, numbered, made once and never written again.

An entry comes into being whole and only where no other has its number, on disk and on S3 alike; so of two that are
written at the same moment one fails. Each holds the sha256 of the one before, so that a change of the past shows.
"""

import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import Any

from components.exclusive import create
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
        own = {"number": seen + 1, "id": uuid.uuid4().hex, "before_sha256": before}  # no two are the same content
        content = json.dumps({**entry, **own}, indent=2, ensure_ascii=False)
        return create(self.folder, _name(seen + 1), content.encode())


def _name(number: int) -> str:
    return f"{number:06d}.json"
