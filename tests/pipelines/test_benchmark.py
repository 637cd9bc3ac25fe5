import subprocess
import sys

LOCAL = """
import sys
sys.modules["ray"] = sys.modules["mlflow"] = None  # importing either now fails
from pipelines import benchmark
sys.argv = ["benchmark.py", "--local", "--frames=8", "--size=32", "--rounds=1"]
benchmark.main()
"""


def test_local_measures_need_neither_ray_nor_mlflow():
    done = subprocess.run([sys.executable, "-c", LOCAL], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    measured = [line for line in done.stdout.splitlines() if line.startswith("light enhancer at k=")]
    assert [line.split("k=")[1].split(" ")[0] for line in measured] == ["1", "2", "4", "8", "16"]
    assert all(float(line.split(", time")[1].split()[0]) > 0 for line in measured)
