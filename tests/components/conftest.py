import pytest
import ray

from components import cluster as cluster_module


@pytest.fixture(scope="session")
def cluster():
    """One real local cluster for all tests of the session, with room for two workers and for decoding."""
    cluster_module.prepare()
    ray.init(address="local", num_cpus=4, dashboard_host="127.0.0.1", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def storage(tmp_path):
    return str(tmp_path / "runs")
