"""The direction of imports: pipelines use components, components use the library, never the other way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "dtcm": {"ray", "mlflow", "boto3", "tyro", "components", "pipelines"},
    "components": {"tyro", "pipelines"},
}
ONLY_IMPORTERS = {
    "mlflow": {
        "components/registry.py",
        "components/served_model.py",
        "components/sweep_tracker.py",
        "components/versions.py",
    },
    "tyro": {
        "pipelines/audit_split.py",
        "pipelines/benchmark.py",
        "pipelines/build_dark48.py",
        "pipelines/command_line.py",
        "pipelines/index_videos.py",
        "pipelines/predict_videos.py",
        "pipelines/promote_model.py",
        "pipelines/register_run.py",
        "pipelines/reproduce_run.py",
        "pipelines/sweep_arid.py",
        "pipelines/compare_models.py",
        "pipelines/test_model.py",
    },
    "av": {
        "dtcm/data/container.py",
        "dtcm/data/decode.py",
        "dtcm/data/frames.py",
        "dtcm/data/sample.py",
        "dtcm/enhanced_video.py",
    },
    "boto3": {"components/exclusive.py"},
    "cv2": {"dtcm/models/flow.py", "dtcm/benchmarks.py"},
    "decord": {"dtcm/benchmarks.py"},
    "torchvision": {"dtcm/models/zoo.py", "dtcm/models/torchvision_import.py"},
    "transformers": {"dtcm/models/zoo.py"},
    "triton": {"dtcm/models/curve_triton.py"},
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_no_package_imports_what_stands_above_it(package):
    wrong = {
        str(path.relative_to(ROOT)): found
        for path in (ROOT / package).rglob("*.py")
        if (found := FORBIDDEN[package] & set(imported(path)))
    }
    assert not wrong


@pytest.mark.parametrize("package", sorted(ONLY_IMPORTERS))
def test_one_place_knows_each_backend(package):
    importers = {
        str(path.relative_to(ROOT))
        for folder in ("dtcm", "components", "pipelines")
        for path in (ROOT / folder).rglob("*.py")
        if package in imported(path)
    }
    assert importers <= ONLY_IMPORTERS[package]


@pytest.mark.parametrize(
    ("module", "without"), [("dtcm.data.facts", {"torch", "ray"}), ("components.ingest", {"torch"})]
)
def test_processes_of_which_there_are_many_start_without(module, without):
    """What decodes for the index, for every core, and what hands on the clips of a training: torch takes 2 s and 200 MB
    of each."""
    program = f"import sys, {module}; print(*{without} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True).stdout == b"\n"
