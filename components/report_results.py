"""What a report shows of a test: the figures, classes, darkness, calibration, and the hardest clips."""

import re

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.ingest import subset
from components.tester import right_clips
from dtcm import figures, metrics, report, report_figures
from dtcm.bundle import Bundle
from dtcm.darkness import TAU
from dtcm.data.plan import centre_rows
from dtcm.data.transforms import load_clip
from dtcm.enhanced_video import enhance

HARDEST = 3
"""Clips of which frames are shown."""
LIKELIEST = 3
"""Classes of which such a clip tells the probability."""
CONFUSIONS = 8
"""Pairs of classes that are named."""


def result(test: dict[str, float]) -> str:
    """The figures to see first."""
    interval = report.meter(test["top1"], test["top1_low"], test["top1_high"])
    said = f"95 % interval {test['top1_low']:.1%} to {test['top1_high']:.1%}; chance {test['chance']:.1%}"
    shared = test["clips"] - test.get("leak_free_clips", 0)
    values = {
        "Top-1": (f"{test['top1']:.1%}", report.Html(said + interval)),
        "Top-5": (f"{test['top5']:.1%}", f"{test['clips']:.0f} test clips, one of each video, centre crop"),
        "Calibration error": (f"{test['ece']:.1%}", f"ECE over {metrics.ECE_BINS} bins; 0 is perfect"),
        "Inconsistency": (f"{test['inconsistency']:.2g}", "L_STC, Eq. 4, mean over clips; lower is steadier"),
    }
    if shared and "leak_free_top1" in test:
        note = f"without {shared:.0f} clips that share something with training"
        values["Top-1, leak-free"] = (f"{test['leak_free_top1']:.1%}", note)
    return report.tiles(values)


def by_class(predictions: pa.Table, classes: tuple[str, ...], confusion: bytes) -> str:
    """Top-1 of each class, what is taken for what, and the whole matrix."""
    groups = metrics.group_accuracy(right_clips(predictions), predictions["class_name"].to_pylist())
    rows = []
    for name, (right, clips) in groups.items():
        share, (low, high) = right / clips, metrics.wilson_interval(right / clips, clips)
        rows.append((name, str(clips), f"{share:.0%}", report.meter(share, low, high), f"{low:.0%} to {high:.0%}"))
    shown = report.table(("class", "clips", "Top-1", "", "95 % interval"), rows)
    matrix = report.figure(
        confusion, "Confusion matrix", "Clips; a row is a true class, shaded by its share.", 110 + 34 * len(classes)
    )
    return report.figures([shown + _confusions(predictions, classes), matrix], wide=True)


def _confusions(predictions: pa.Table, classes: tuple[str, ...]) -> str:
    counts: dict[tuple[str, str], int] = {}
    for name, predicted in zip(
        predictions["class_name"].to_pylist(), predictions["predicted"].to_pylist(), strict=True
    ):
        if name != classes[predicted]:
            counts[name, classes[predicted]] = counts.get((name, classes[predicted]), 0) + 1
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:CONFUSIONS]
    rows = [(f"{name}, taken for {taken}", str(count)) for (name, taken), count in most]
    return report.table(("most often confused", "clips"), rows) if rows else ""


def by_darkness(predictions: pa.Table, test: dict[str, float]) -> str:
    """Top-1 by darkness, the clips behind it, and whether the model is as sure as it is right."""
    dv, right = predictions["dv"].to_numpy(), right_clips(predictions)
    groups = metrics.group_accuracy(right, metrics.dv_bins(dv))
    order = sorted(groups, key=lambda name: float(re.findall(r"-?[\d.]+", name)[-1]) + name.startswith("above"))
    bars = report_figures.bars({name: groups[name] for name in order}, "darkness Dv (clips)", test["chance"])
    logits, labels = np.array(predictions["logits"].to_pylist()), predictions["label"].to_numpy()
    cloud = report_figures.difficulty(dv, _own_share(predictions), right, -TAU)
    sure = report_figures.reliability(metrics.reliability(logits, labels))
    scale = f"With 95 % intervals. Dv, Eq. 13: -1 is black, 0 a normal exposure; below {-TAU:g} is dark (Eq. 14)."
    return report.figures(
        [
            report.figure(bars, "Top-1 by darkness", scale),
            report.figure(cloud, "Darkness and difficulty", "A dot is a clip; the lower, the harder it was."),
            report.figure(
                sure, f"Calibration: error {test['ece']:.1%}", "The larger a dot, the more clips it stands for."
            ),
        ]
    )


def hardest(manifest: pa.Table, predictions: pa.Table, bundle: Bundle) -> tuple[str, list[bytes]]:
    """The test clips of the largest cross-entropy: frames and RGB differences before and after; the pictures too."""
    shares = metrics.probabilities(np.array(predictions["logits"].to_pylist()))
    test, shown, pictures = subset(manifest, "test"), "", []
    for place in np.argsort(_own_share(predictions), kind="stable")[:HARDEST].tolist():
        video, data = test.slice(place, 1).to_pylist()[0], bundle.experiment.data
        row = centre_rows((video["frames"],), data)[0]
        dark = load_clip(video["path"], row, data)
        bright = enhance(bundle.model, dark)
        pictures.append(figures.enhancement(dark, bright, ""))
        predicted = bundle.classes[int(shares[place].argmax())]
        title = f"{video['class_name']}, " + (
            "right, but hardly" if predicted == video["class_name"] else f"taken for {predicted}"
        )
        numbers, rows = figures.strips(dark, bright)
        places = ", ".join(str(row.frames[number]) for number in numbers)
        note = f"{video['video_id']} · Dv {video['dv']:.2f} · frames {places} of {video['frames']}"
        likely = [
            (bundle.classes[c], f"{shares[place, c]:.0%}", report.meter(float(shares[place, c])))
            for c in np.argsort(-shares[place], kind="stable")[:LIKELIEST]
        ]
        encoded = [(name, report_figures.strip(frames)) for name, frames in rows]
        shown += report.strips(title, note, report.table((), likely), encoded)
    return shown, pictures


def _own_share(predictions: pa.Table) -> NDArray[np.float64]:
    """Probability that each clip's own class was given, [N]."""
    shares = metrics.probabilities(np.array(predictions["logits"].to_pylist()))
    return shares[np.arange(len(shares)), predictions["label"].to_numpy()]
