"""Build a data set as Dark-48 is, from pools of labelled videos such as Kinetics-700 and Moments in Time.

`python pipelines/build_dark48.py /data/kinetics700 /data/moments --out /data/my-dark`, then train on it:
`python pipelines/train_dark48.py --experiment.data.root /data/my-dark`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import tyro

from components.cluster import cluster
from components.index import index_files
from components.settings import Settings
from dtcm import figures
from dtcm.darkness import Rule
from dtcm.data.dark48_build import read_category_map, select, three_splits
from dtcm.data.dark48_files import bars, markdown, read_pool, table_ii, write
from dtcm.data.files import absolute, is_uri
from dtcm.errors import BadInput
from pipelines.command_line import run


@dataclass(frozen=True)
class BuildArguments:
    """Select dark videos of frequent classes from pools of labelled videos, and split them as Dark-48."""

    pools: tyro.conf.Positional[tuple[str, ...]]
    """Folders or s3:// URIs whose videos lie in folders named by their class, or manifests (.parquet) of them
    from index_videos.py."""
    out: str
    """Folder for lists, figures, selection.parquet, and the videos (links, or copies of those in S3)."""
    category_map: str = ""
    """CSV file "pool class,new class" that merges or renames classes. Classes of one name are merged anyway."""
    minimum: int = 100
    """Fewest dark videos of a class that is kept (paper: 100)."""
    rule: Rule = "paper"
    """How darkness is judged (Eq. 12-14): paper, or released as in Dark-48's published script."""
    by_source: bool = False
    """Keep all clips of a source video on one side of a split, so that no test clip's video was trained on."""
    seed: int = 0
    """Seed of the three splits."""
    settings: Settings = field(default_factory=Settings)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, index what is not indexed yet, select, split, write, and say what came of it."""
    args = tyro.cli(BuildArguments, args=argv)
    if is_uri(args.out):
        raise BadInput(f"The set is built on this machine; let --out name a folder, not {args.out}.")
    out = Path(absolute(args.out))
    merge = read_category_map(absolute(args.category_map)) if args.category_map else {}
    pools = pa.concat_tables([_pool(pool, out / f"pool{n}.parquet", args) for n, pool in enumerate(args.pools, 1)])
    selection = three_splits(select(pools, args.minimum, args.rule, merge), args.seed, args.by_source)
    write(selection, out, args.seed, figures.class_bars(bars(selection), f"{out.name}, split 1"))
    for kind, count in Counter(reason.partition(":")[0] for reason in selection["reason"].to_pylist()).items():
        print(f"{count:8d} {kind or 'chosen'}")
    print(f"\n{markdown(table_ii(selection, out.name))}\nThe set: {out}")


def _pool(pool: str, out: Path, args: BuildArguments) -> pa.Table:
    if not pool.endswith(".parquet"):
        with cluster(args.settings):
            index_files(pool, str(out), args.settings)
    return read_pool(absolute(pool) if pool.endswith(".parquet") else str(out))


if __name__ == "__main__":
    run(main)
