import re
import subprocess
import sys
from pathlib import Path

import pytest

LOCAL = """
import sys
sys.modules["ray"] = sys.modules["mlflow"] = None  # importing either now fails
from pipelines import benchmark
small = ["--frames=8", "--size=32", "--rounds=1", "--batch=2", "--step-frames=4", "--step-size=16"]
sys.argv = ["benchmark.py", "--local", "--classifier=small3d", "--videos={videos}", *small]
benchmark.main()
"""


def test_local_measures_need_neither_ray_nor_mlflow(tiny_root):
    code = LOCAL.format(videos=tiny_root / "*" / "*.mp4")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    measured = [line for line in done.stdout.splitlines() if line.startswith("light enhancer at k=")]
    assert [line.split("k=")[1].split(" ")[0] for line in measured] == ["1", "2", "4", "8", "16"]
    assert all(float(line.split(", time")[1].split()[0]) > 0 for line in measured)
    assert done.stdout.count(" over Zero-DCE, memory, ") == 5
    joint = done.stdout.split("joint step over the classifier's own, time, 2 clips of 4x16x16")[1].splitlines()
    assert all(float(line.split()[column]) > 0 for line, column in zip(joint[:5], (0, -1, -1, -1, -1), strict=True))
    assert "fp32 contiguous" in joint[5]


@pytest.mark.slow
def test_every_measure_of_ray_is_printed_to_the_end():
    """On a cluster of the benchmark's own, of as many CPUs as the machine has."""
    small = ["--frames=8", "--size=32", "--rounds=1", "--batch=2", "--step-frames=4", "--step-size=16", "--clips=40"]
    command = [sys.executable, "-m", "pipelines.benchmark", "--classifier=small3d", "--steps=6", *small]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if re.match(r".{76} +\d", line)]
    measured = {line[:76].strip(): float(line[76:86]) for line in lines}
    for measure in ("index over", "Ray Data over", "Ray Train over a plain loop beside", "clips per", "two workers"):
        assert [value for name, value in measured.items() if name.startswith(measure) and value > 0], measure
    (waiting,) = [value for name, value in measured.items() if name.startswith("share of the Ray Train step")]
    assert 0 <= waiting < 1
