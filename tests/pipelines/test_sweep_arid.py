import json
import os
import shlex
import signal
import subprocess
import sys

import pytest
import yaml

from dtcm import config
from dtcm.errors import BadInput
from pipelines import sweep_arid, train_arid
from pipelines.command_line import read_config
from tests.support.processes import below, finished, wait_for
from tests.support.servers import RAY, ROOT, start_ray

pytestmark = pytest.mark.timeout(900)


def test_help_explains_sweeps_limits_and_every_field(capsys):
    with pytest.raises(SystemExit) as end:
        sweep_arid.main(["--help"])
    assert end.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for flag in ("--sweep", "--also", "--seeds", "--limits.hours", "--limits.exclusive", "--experiment.loss.alpha"):
        assert flag in text


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--sweep", "papre"], "There is no sweep 'papre'"),
        (["--also", "loss.aplha: [1]"], "no experiment field 'loss.aplha'"),
        (["--seeds", "1", "1"], "every seed once"),
        (["--experiment.data.root", "/nowhere"], "There is no folder '/nowhere'"),
        (["--from-config", "/nowhere.json"], "There is no file '/nowhere.json'"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_is_written(tmp_path, flags, sentence):
    with pytest.raises(BadInput) as error:
        sweep_arid.main([*flags, "--settings.storage", str(tmp_path / "runs")])
    assert sentence in str(error.value)
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def asked(monkeypatch):
    """What the pipelines would run."""
    found = []
    monkeypatch.setattr(sweep_arid, "run_sweep", lambda sweep, *more: found.append(sweep))
    monkeypatch.setattr(sweep_arid, "report", lambda *more: "")
    monkeypatch.setattr(train_arid, "train_test_register", lambda experiment, settings: found.append(experiment))
    monkeypatch.setattr(train_arid, "describe", lambda result: None)
    return found


def test_the_centre_of_the_paper_sweep_is_the_papers_choice_whatever_the_recipe(asked):
    sweep_arid.main(["--recipe", "sample", "--seeds", "7", "8"])
    assert (asked[0].base.loss.alpha, asked[0].base.loss.w_stc, asked[0].base.model.k) == (0.1, 4.0, 4)
    assert asked[0].base.model.classifier == "small3d"
    assert asked[0].seeds == (7, 8)
    assert asked[0].name == "paper"


def test_a_stored_experiment_is_where_flags_start(asked, tiny, tmp_path):
    stored = config.with_overrides(tiny, {"loss.alpha": 3.0, "loss.teachers": ["a", "b"], "seed": 5})
    (tmp_path / "best.json").write_text(config.to_json(stored))
    start = ["--from-config", str(tmp_path / "best.json")]
    train_arid.main(start)
    train_arid.main([*start, "--experiment.optim.epochs", "9"])
    sweep_arid.main([*start, "--sweep", "joint"])
    assert asked[0] == stored
    assert asked[1] == config.with_overrides(stored, {"optim.epochs": 9})
    assert asked[2].base == config.with_overrides(stored, {"seed": 0})


@pytest.mark.parametrize("content", ["{", "[]", '{"loss": {"aplha": 1}}', "3"])
def test_what_is_no_experiment_is_not_taken_for_one(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(BadInput):
        read_config(str(tmp_path / "config.json"))


def small(tiny, storage):
    """Flags that come after a manifest's own and make its sweep a matter of seconds: one tiny trial."""
    values = {
        "recipe": "sample", "seeds": "0", "limits.trials": 1, "experiment.data.root": tiny.data.root,
        "experiment.data.frames": 8, "experiment.data.stride": 1, "experiment.data.width-px": 40,
        "experiment.data.height-px": 30, "experiment.data.crop-px": 24, "experiment.data.val-fraction": 0.3,
        "experiment.optim.epochs": 1, "settings.storage": storage,
        "settings.tracking-uri": f"sqlite:///{storage}/mlflow.db",
    }  # fmt: skip
    return shlex.join(f"--{name}={value}" for name, value in values.items())


def run(command, environment):
    """The output of a command that ends well."""
    pipes: dict = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return finished(subprocess.Popen(command, cwd=ROOT, env=environment, **pipes))


def events(sweeps):
    """What the only weekly sweep below a folder says it did."""
    (folder,) = [path for path in sweeps.iterdir() if path.name.startswith("weekly-20")]
    return [json.loads(line)["event"] for line in (folder / "trials.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_command_line_of_the_cron_job_sweeps_on_a_standing_cluster(standing_cluster, tiny, tmp_path):
    cron = yaml.safe_load((ROOT / "infra" / "kuberay" / "cronjob-sweep.yaml").read_text())
    (container,) = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    line = f"{container['args'][0].strip()} {small(tiny, tmp_path)}"
    assert "1 of 13 trials finished." in run([*container["command"], line], standing_cluster)
    sweeps = tmp_path / tiny.data.name / "sweeps"
    assert events(sweeps) == ["started", "finished"]
    assert not list(sweeps.rglob("lock/*"))


@pytest.mark.slow
def test_the_entry_point_of_the_ray_cron_job_sweeps_as_a_job(standing_cluster, tiny, tmp_path):
    cron = yaml.safe_load((ROOT / "infra" / "kuberay" / "raycronjob-sweep.yaml").read_text())
    line = f"{cron['spec']['jobTemplate']['entrypoint'].strip()} {small(tiny, tmp_path)}"
    submit = [RAY, "job", "submit", "--working-dir", ".", "--", *shlex.split(line)]
    assert "1 of 13 trials finished." in run(submit, standing_cluster)
    sweeps = tmp_path / tiny.data.name / "sweeps"
    assert events(sweeps) == ["started", "finished"]
    assert not list(sweeps.rglob("lock/*"))


@pytest.mark.slow
def test_a_sweep_goes_on_without_a_node_that_is_lost(standing_cluster, tiny, tmp_path):
    environment = standing_cluster | {"RAY_ADDRESS": standing_cluster["GCS"]}
    node = start_ray(f"--address={standing_cluster['GCS']}", **environment)
    (tmp_path / "k.yaml").write_text("method: factors\nfields: {model.k: [1, 2]}\n")
    more = f"--sweep={tmp_path / 'k.yaml'} --limits.trials=3 --limits.concurrent=3 --experiment.optim.epochs=8"
    sweep = subprocess.Popen(
        [sys.executable, "pipelines/sweep_arid.py", *shlex.split(f"{small(tiny, tmp_path / 'runs')} {more}")],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    output = []
    for line in sweep.stdout or ():
        output.append(line)
        if "epoch 1 of" in line and node.poll() is None:
            wait_for(lambda: below(node.pid, "RayTrainWorker"), "a training on the node")
            os.killpg(node.pid, signal.SIGKILL)
            node.wait()
    assert sweep.wait() == 0, "".join(output)
    assert node.returncode == -signal.SIGKILL
    assert "3 of 3 trials finished." in "".join(output)
