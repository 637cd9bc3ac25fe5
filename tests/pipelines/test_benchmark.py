import subprocess
import sys

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
    assert all(float(line.split()[column]) > 0 for line, column in zip(joint[:4], (0, 4, -1, -1), strict=True))
    assert "fp32 contiguous" in joint[4]
