"""Read every video below a folder, once and completely: what can be used, what is broken, how dark it all is.

`python pipelines/index_videos.py /data/videos --out videos.parquet`, or s3:// in both places. The same
command again reads only what is new or has changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import tyro

from components.cluster import cluster
from components.index import Indexed, index_files
from components.settings import Settings
from dtcm.data.summary import describe
from pipelines.command_line import run


@dataclass(frozen=True)
class IndexArguments:
    """Read every video below a folder completely, and write what it is to a Parquet file."""

    root: tyro.conf.Positional[str]
    """Folder or s3:// URI of the videos, searched with all folders in it."""
    out: str
    """Manifest to write, ending in .parquet, on disk or S3. What is broken, a histogram of the darkness, and
    what resuming needs are written beside it."""
    every_file: bool = False
    """Also read files whose names do not end as a video's do."""
    settings: Settings = field(default_factory=Settings)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, index, and print the summary."""
    args = tyro.cli(IndexArguments, args=argv)
    with cluster(args.settings):
        indexed = index_files(args.root, args.out, args.settings, args.every_file)
    print(f"Read {indexed.read} files now; what had not changed since was not read again.")
    print("\n".join(describe(indexed.manifest, indexed.quarantine)))
    _print_places(indexed, args.out)


def _print_places(indexed: Indexed, out: str) -> None:
    if indexed.others:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(indexed.others.items()))
        print(f"Left alone, not named as videos: {kinds} (--every-file reads them too)")
    stem = out.removesuffix(".parquet")
    print(f"Manifest:   {out}\nQuarantine: {stem}.quarantine.parquet\nHistogram:  {stem}.darkness.png")


if __name__ == "__main__":
    run(main)
