"""What a whole run says on the way and in result.json, and that it computes what it was asked to."""

import io
import itertools
import json
import shutil
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from components.ingest import make_plan, subset
from components.settings import Settings
from components.trainer import train
from components.workflow import train_test_register
from dtcm.config import with_overrides
from tests.support.runs import first_step, steps_of


@pytest.fixture(scope="module")
def asked(tiny, tiny_root, tmp_path_factory):
    """With something to choose on a CPU too, and in parts that batch statistics tell apart, on videos of its own."""
    root = tmp_path_factory.mktemp("videos") / "tiny"
    shutil.copytree(tiny_root, root)
    return with_overrides(tiny, {"data.root": str(root), "optim.memory_format": "channels-last", "optim.accumulate": 2})


@pytest.fixture(scope="module")
def told(cluster, asked, tmp_path_factory):
    """The run, its lines, and how many clips it takes from another video: one is deleted once all are indexed."""
    replaced, output = [], io.StringIO()

    def train_without_a_video(run, manifest, *others):
        plan = make_plan(manifest, asked)
        gone = plan.rows(1)[0].video  # so the first step of the first epoch is the undisturbed one
        Path(subset(manifest, "train")["path"][gone].as_py()).unlink()
        rows = itertools.chain(*map(plan.rows, range(plan.steps)))
        replaced.append(sum(row.video == gone for row in rows))
        train(run, manifest, *others)

    settings = Settings(storage=str(tmp_path_factory.mktemp("told")), max_unreadable_share=0.1)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output):
        patch.setattr("components.workflow.train", train_without_a_video)
        run = train_test_register(asked, settings).run
    return run, output.getvalue().splitlines(), replaced[0]


@pytest.mark.slow
def test_a_video_that_became_unreadable_stands_in_the_progress_and_in_the_result(told):
    run, lines, replaced = told
    assert replaced > 0
    last = [line for line in lines if line.startswith("epoch   2  step 6/6")]
    assert [line.rpartition("  ")[2] for line in last] == [f"1 unreadable videos, {replaced} clips replaced"]
    result = json.loads(run.folder.read("result.json"))
    assert (result["unreadable_videos"], result["replaced_clips"]) == (1, replaced)


@pytest.mark.slow
def test_how_its_steps_are_computed_is_printed_once_and_kept(told):
    run, lines, _ = told
    why = json.loads(run.folder.read("execution.json"))["why"]
    assert why.startswith("fp32 channels-last: ")
    assert [line for line in lines if line.startswith("Steps:")] == [f"Steps: {why}"]


@pytest.mark.slow
def test_a_batch_is_computed_in_as_many_parts_as_were_asked_for(told, asked):
    """Batch statistics of two clips are not those of four."""
    run, _, _ = told
    manifest, found = run.read_table("manifest.parquet"), steps_of(run)[0]["metrics"]["total"]
    totals = [first_step(with_overrides(asked, {"optim.accumulate": n}), manifest, 2)[1]["total"] for n in (2, 1)]
    assert found == pytest.approx(totals[0], rel=1e-4)
    assert found != pytest.approx(totals[1], rel=1e-3)
