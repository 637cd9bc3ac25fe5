"""The image, as far as it can be judged without building it."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import dtcm
from components import runs

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "infra" / "Dockerfile"


def instructions():
    """The instructions of the Dockerfile and what follows each."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def ignored(path):
    """Whether .dockerignore keeps a path of the repository out of the build."""
    parents, out = [path, *path.parents][:-1], False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        rule = line.removeprefix("!")
        if line and line[0] != "#" and any(
            fnmatch(part.as_posix(), rule) or ("**/" in rule and fnmatch(part.name, rule.removeprefix("**/")))
            for part in (parents[-1:] if rule == "*" else parents)
        ):  # fmt: skip
            out = not line.startswith("!")
    return out


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """What a build is given of the repository."""
    folder = tmp_path_factory.mktemp("context")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for path in map(Path, listed.splitlines()):
        if not ignored(path):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, folder / path)
    return folder


def test_hadolint_finds_nothing_and_would():
    linter = Path(sys.executable).with_name("hadolint")
    assert subprocess.run([linter, DOCKERFILE]).returncode == 0
    spoilt = re.sub("--no-cache-dir|--no-install-recommends|slim-bookworm", "", DOCKERFILE.read_text())
    assert subprocess.run([linter, "-"], input=spoilt, text=True).returncode == 1


def test_what_is_copied_is_there(context):
    copied = [words for name, rest in instructions() if name == "COPY" for words in [rest.split()[:-1]]]
    assert copied
    assert all((context / source).exists() for sources in copied for source in sources)
    assert not [path for path in context.rglob("*") if path.name in ("tests", "docs", ".git", "runs", ".venv")]


@pytest.mark.slow
def test_the_programs_and_sweeps_are_found_in_what_is_copied(context):
    programs = ", ".join(f"pipelines.{path.stem}" for path in (context / "pipelines").glob("*_*.py"))
    code = f"import {programs}; from components.sweep_plan import SWEEPS; print(*sorted(SWEEPS.glob('*.yaml')))"
    environment = {**os.environ, "PYTHONPATH": str(context)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=context, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(context / "infra" / "sweeps" / f"{name}.yaml") for name in ("joint", "paper")]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the image has Python 3.11, with tomllib")
def test_every_package_of_the_image_is_pinned(context):
    (step,) = [rest for name, rest in instructions() if name == "RUN" and "tomllib" in rest]
    printing = re.search(r"python -c (\".*?\") >", step)
    assert printing
    printed = subprocess.run(
        f"{shlex.quote(sys.executable)} -c {printing[1]}", shell=True, cwd=context, capture_output=True, text=True
    ).stdout.splitlines()
    pins = dict(
        line.lower().split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and line[0] != "#"
    )
    names = {requirement.name for requirement in map(Requirement, printed)}
    assert {"torch", "ray", "transformers", "opencv-python-headless"} <= names
    for requirement in map(Requirement, printed):
        assert requirement.specifier.contains(pins[requirement.name.lower()]), requirement


def test_packages_are_installed_under_the_constraints_before_the_code_is_there():
    steps = [f"{name} {rest}" for name, rest in instructions()]
    (packages,) = [step for step in steps if "-r /tmp/requirements.txt" in step]
    assert "-c constraints.txt" in packages
    assert steps.index(packages) < steps.index("COPY . .")


def test_nothing_runs_as_root_in_it():
    last = [name for name, _ in instructions()]
    assert instructions()[last.index("USER")][1] == "1000"
    assert last[last.index("USER") + 1 :] == ["ENV", "CMD"]


def test_manifests_name_the_image_and_its_ray():
    image, texts = f"registry.example.com/dtcm:{dtcm.__version__}", [DOCKERFILE.read_text()]
    texts += [path.read_text() for path in (ROOT / "infra" / "kuberay").glob("*.yaml")]
    assert len(texts) > 2
    for text in texts:
        assert set(re.findall(r"registry\.example\.com/\S+", text)) == {image}
    cluster = yaml.safe_load((ROOT / "infra" / "kuberay" / "raycronjob-sweep.yaml").read_text())["spec"]["jobTemplate"]
    assert f"ray=={cluster['rayClusterSpec']['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()


@pytest.mark.parametrize(("stamp", "commit", "dirty"), [("c0ffee\n", "c0ffee", False), ("\n", "unknown", None)])
def test_a_run_from_an_image_knows_the_commit_that_the_image_was_given(tmp_path, monkeypatch, stamp, commit, dirty):
    assert 'echo "$COMMIT" > COMMIT' in DOCKERFILE.read_text()
    (tmp_path / "components").mkdir()
    (tmp_path / "COMMIT").write_text(stamp)
    monkeypatch.setattr(runs, "__file__", str(tmp_path / "components" / "runs.py"))
    found = runs.environment()
    assert (found["git_commit"], found["git_dirty"]) == (commit, dirty)
