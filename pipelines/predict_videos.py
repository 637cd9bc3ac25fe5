"""Predict the actions of videos: the five likeliest classes of each, or of every window along it.

`python pipelines/predict_videos.py models:/dtcm-arid-v1-split1@champion /data/night --out night.parquet`, and s3://
in any place.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import tyro

from components.cluster import cluster
from components.predict import predict_videos
from components.settings import Settings
from components.versions import bundle_of
from pipelines.command_line import run


@dataclass(frozen=True)
class PredictArguments:
    """Predict the actions of videos."""

    model: tyro.conf.Positional[str]
    """Run folder (path or s3:// URI), or registered model (models:/NAME@champion, models:/NAME/3)."""
    sources: tyro.conf.Positional[tuple[str, ...]]
    """Videos, and folders that are searched with all folders in them, by path or s3:// URI."""
    out: str
    """Parquet file for the predictions, on disk or S3. What cannot be read is named beside it."""
    hop: int = 0
    """Frames from one window to the next. 0: only the central clip of each video, as in the test."""
    enhanced: str = ""
    """Folder for the videos as the model brightens them, in H.264 and without sound. Empty: they are not written."""
    settings: Settings = field(default_factory=Settings)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, predict, and say what came of it."""
    args = tyro.cli(PredictArguments, args=argv)
    with bundle_of(args.model, args.settings) as model, cluster(args.settings) as use_gpu:
        done = predict_videos(args.sources, model, args.out, args.hop, args.enhanced, args.settings, use_gpu)
    print(
        f"Predicted {done.clips} clips now, {done.table.num_rows} in all; {done.quarantine.num_rows} videos unreadable"
    )
    for name, count in Counter(best[0] for best in done.table["classes"].to_pylist()).most_common():
        print(f"{count:8d} {name}")
    print(f"Predictions: {args.out}\nQuarantine:  {args.out.removesuffix('.parquet')}.quarantine.parquet")
    if args.enhanced:
        print(f"Brightened:  {args.enhanced} ({done.enhanced} videos written now)")


if __name__ == "__main__":
    run(main)
