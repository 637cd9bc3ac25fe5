"""Training as a submitted Ray job, against a real cluster that stands before it."""

import subprocess

import pytest

from tests.support.servers import RAY, ROOT


def submit(environment, *entrypoint):
    command = [RAY, "job", "submit", "--working-dir", ".", "--", "python", *entrypoint]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_a_submitted_job_trains(standing_cluster, tiny_root, tmp_path):
    settings = [
        f"--experiment.data.root={tiny_root}", "--experiment.data.frames=8", "--experiment.data.stride=1",
        "--experiment.data.width-px=40", "--experiment.data.height-px=30", "--experiment.data.crop-px=24",
        "--experiment.optim.epochs=1", f"--settings.storage={tmp_path}",
    ]  # fmt: skip
    done = submit(standing_cluster, "pipelines/train_arid.py", *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Test:" in done.stdout
    (folder,) = (tmp_path / tiny_root.name / "split1").iterdir()
    assert (folder / "result.json").exists()


@pytest.mark.slow
def test_a_submitted_job_that_fails_says_why(standing_cluster):
    failed = submit(standing_cluster, "pipelines/train_arid.py", "--experiment.data.root=/nowhere")
    assert failed.returncode != 0
    assert "There is no folder '/nowhere'" in failed.stdout + failed.stderr
