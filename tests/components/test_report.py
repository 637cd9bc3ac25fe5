import base64
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from components.report import _paper, write_report
from components.runs import environment
from components.storage import Folder
from components.tester import read_bundle
from components.workflow import find_videos
from dtcm.config import with_overrides
from dtcm.recipes import RECIPES


@pytest.fixture
def page(trained):
    return trained.run.folder.uri + "/report/index.html"


def test_the_report_shows_what_was_run_how_it_went_and_where_it_fails(trained, page):
    text = Path(page).read_text()
    for heading in (
        "Result",
        "What was run on what",
        "Beside the paper",
        "Training",
        "By class",
        "By darkness",
        "Hardest clips",
        "Cost",
    ):
        assert f"<h2>{heading}</h2>" in text
    assert f"{trained.test['top1']:.1%}" in text
    assert "Left/Left_" in text or "Right/Right_" in text
    assert not re.search(r'src="(?!data:)', text)
    assert set(re.findall(r'href="(?!data:)#([^"]*)"', text)) == set(re.findall(r'<section id="([^"]*)"', text))


def drawings(page):
    """What each drawn figure of a page says, by its title."""
    found = {}
    for title, data in re.findall(r"<figcaption><b>(.*?)</b>.*?base64,(.*?)\"", Path(page).read_text()):
        content = base64.b64decode(data)
        if content.startswith(b"<?xml"):
            found[title] = [
                text.text for text in ElementTree.fromstring(content).iter("{http://www.w3.org/2000/svg}text")
            ]
    return found


@pytest.mark.parametrize(
    ("title", "x", "y", "legend"),
    [
        ("Validation Top-1", "epoch", "Top-1, % of clips", "chance 50.0%"),
        ("Total, L_total (Eq. 7)", "step", "L_total, weighted sum", "running mean"),
        ("Action recognition", "step", "L_AR, nats", "each step"),
        ("Spatio-temporal consistency (Eq. 4)", "step", "L_STC, of values in [0, 1]", "running mean"),
        ("Top-1 by darkness", "darkness Dv (clips)", "Top-1, % of clips", "chance 50.0%"),
        ("Darkness and difficulty", "darkness Dv (-1 black, 0 normal)", "probability of its class, %", "right"),
        ("Calibration: error", "confidence, %", "right, % of clips", "as sure as right"),
        ("Time of a step", "step", "time, ms", "of it waiting for clips"),
    ],
)
def test_a_figure_has_axes_with_units_and_a_legend(page, title, x, y, legend):
    (found,) = [texts for name, texts in drawings(page).items() if name.startswith(title)]
    assert {x, y, legend} <= set(found)


def test_every_part_of_the_loss_is_drawn(page, trained):
    names = {name for record in trained.run.read_metrics() if record["kind"] == "train" for name in record["metrics"]}
    assert sum("step" in texts for texts in drawings(page).values()) == len(names - {"step_s", "wait_s"}) + 1


def test_a_hard_clip_is_shown_dark_enhanced_and_by_its_differences(page):
    clips = re.findall(r'<article class="clip">(.*?)</article>', Path(page).read_text(), re.DOTALL)
    assert len(clips) == 3
    for clip in clips:
        shown = [re.sub(r" × .*", "", name) for name in re.findall("<figcaption>(.*?)</figcaption>", clip)]
        assert shown == ["dark", "dark", "enhanced", "dark: RGB difference", "enhanced: RGB difference"]
        assert clip.count("data:image/png") == 5


def test_a_planted_password_reaches_neither_the_record_of_the_environment_nor_the_report(
    trained, tmp_path, monkeypatch
):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
    monkeypatch.setattr(sys, "argv", ["train.py", "--settings.tracking-uri=postgresql://me:planted-secret@db/x"])
    folder = Folder(shutil.copytree(trained.run.folder.uri, tmp_path / "run").as_posix())
    folder.write("environment.json", json.dumps(environment()).encode())
    run = replace(trained.run, folder=folder)
    manifest, predictions = run.read_table("manifest.parquet"), run.read_table("predictions.parquet")
    write_report(run, "folder", manifest, predictions, read_bundle(run.model))
    held = [path for path in (tmp_path / "run").rglob("*") if path.is_file() and b"planted-secret" in path.read_bytes()]
    assert not held
    assert "postgresql://***@db/x" in folder.read("environment.json").decode()


TEST = {"top1": 0.5, "top1_low": 0.4, "top1_high": 0.6, "top5": 0.9}


def test_a_run_stands_beside_the_papers_row_of_its_model_and_input():
    paper = _paper(RECIPES["arid-v1"](), "arid-v1", TEST)
    assert "Table III" in paper
    assert "96.36" in paper  # DTCM's Top-1 with 64 frames of 112x112
    other = with_overrides(RECIPES["arid-v1"](), {"data.frames": 32})
    assert "no row has this model" in _paper(other, "arid-v1", TEST)
    assert "no figure for these data" in _paper(RECIPES["sample"](), "folder", TEST)


def test_data_whose_format_is_found_have_their_row(tmp_path, tiny):
    for subset, video in (("train", "Drink/Drink_1_1"), ("test", "Drink/Drink_2_1")):
        (tmp_path / "clips" / video).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "clips" / f"{video}.mp4").touch()
        (tmp_path / f"ARID_split1_{subset}.txt").write_text(f"0\t0\t{video}.avi\n")
    data = {"data.root": str(tmp_path), "data.dataset": "", "data.format": "auto"}
    experiment = with_overrides(RECIPES["arid-v1"](), data)
    format = find_videos(experiment).format
    assert _paper(experiment, format, TEST) == _paper(RECIPES["arid-v1"](), "arid-v1", TEST)
    assert find_videos(tiny).format == "folder"


def test_a_run_on_class_folders_says_that_it_has_no_row(trained, page):
    assert trained.run.experiment.data.format == "auto"  # as it was configured, whatever was found
    assert "As far as their format, folder, tells, the paper has no figure for these data." in Path(page).read_text()
