import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from components.report import write_report
from components.runs import environment
from components.storage import Folder
from components.tester import read_bundle


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
        "Hardest clips",
        "Cost",
    ):
        assert f"<h2>{heading}</h2>" in text
    assert f"{trained.test['top1']:.1%}" in text
    assert "Left/Left_" in text or "Right/Right_" in text
    assert text.count("data:image/png;base64,") >= 15  # a curve for each loss part, and the others
    assert not re.search(r'(src|href)="(?!data:)', text)


def test_a_planted_password_reaches_neither_the_record_of_the_environment_nor_the_report(
    trained, tmp_path, monkeypatch
):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
    monkeypatch.setattr(sys, "argv", ["train.py", "--settings.tracking-uri=postgresql://me:planted-secret@db/x"])
    folder = Folder(shutil.copytree(trained.run.folder.uri, tmp_path / "run").as_posix())
    folder.write("environment.json", json.dumps(environment()).encode())
    run = replace(trained.run, folder=folder)
    manifest, predictions = run.read_table("manifest.parquet"), run.read_table("predictions.parquet")
    write_report(run, manifest, predictions, read_bundle(run.model))
    held = [path for path in (tmp_path / "run").rglob("*") if path.is_file() and b"planted-secret" in path.read_bytes()]
    assert not held
    assert "postgresql://***@db/x" in folder.read("environment.json").decode()


@pytest.mark.slow
@pytest.mark.parametrize("width_px", [1280, 400])
def test_a_browser_shows_it_without_complaint_and_without_scrolling_sideways(page, tmp_path, width_px):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    assert browser, "this test drives a headless Chromium; install it with `apt-get install chromium`"
    # A window is never narrower than 500 px, a frame is; it measures the page within and says so in the title.
    frame = tmp_path / "frame.html"
    frame.write_text(
        f"<iframe id=f src='file://{page}' style='width:{width_px}px;height:900px;border:0'></iframe>"
        "<script>f.onload = () => { const root = f.contentDocument.documentElement;"
        "const broken = [...f.contentDocument.images].filter(i => !i.naturalWidth).length;"
        "document.title = `${root.clientWidth} wide, shows ${root.scrollWidth}, ${broken} broken` }</script>"
    )
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--allow-file-access-from-files",
    ]
    command += ["--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom", f"file://{frame}"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "HOME": str(tmp_path)}
    )
    assert f"<title>{width_px} wide, shows {width_px}, 0 broken</title>" in done.stdout
    assert "CONSOLE" not in done.stderr
