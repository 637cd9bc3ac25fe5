import pytest
import ray

from components import cluster as module
from components.cluster import reserved, workers_on
from components.settings import Settings
from dtcm.errors import BadInput


@pytest.mark.parametrize(
    ("gpus", "each", "workers"),
    [(4, 1, 4), (4, 2, 2), (3, 2, 1), (1, 0.5, 2), (2, 0.4, 4), (2, 0.34, 4), (2, 0.6, 2), (1, 0.1, 10), (0, 0.5, 0)],
)
def test_a_share_of_a_gpu_lies_on_one_gpu(gpus, each, workers):
    assert workers_on(gpus, each) == workers


def checked(monkeypatch, gpus, **settings):
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 16.0, "GPU": float(gpus)})
    return module._check(Settings(**settings))


@pytest.mark.parametrize(
    ("gpus", "settings", "expected"),
    [
        (0, {}, False),
        (1, {}, True),
        (1, {"workers": 2}, False),
        (1, {"gpus_per_worker": 0.5}, True),
        (2, {"gpus_per_worker": 2.0}, True),
        (1, {"gpus_per_worker": 2.0}, False),
        (1, {"gpus_per_worker": 0.5, "device": "cpu", "workers": 2}, False),
    ],
)
def test_gpus_are_used_where_there_are_enough(monkeypatch, gpus, settings, expected):
    assert checked(monkeypatch, gpus, **settings) is expected


@pytest.mark.parametrize(
    ("gpus", "settings", "sentence"),
    [
        (1, {"device": "cuda", "workers": 2}, "2 workers need 1 GPUs each and the cluster has 1"),
        (2, {"gpus_per_worker": 0.5, "workers": 2}, "NCCL refuses"),
        (4, {"gpus_per_worker": 1.5}, "one or more whole ones"),
        (4, {"gpus_per_worker": 0.0}, "one or more whole ones"),
    ],
)
def test_gpus_that_cannot_be_shared_so_are_refused(monkeypatch, gpus, settings, sentence):
    with pytest.raises(BadInput, match=sentence):
        checked(monkeypatch, gpus, **settings)


def test_train_reserves_what_the_settings_say():
    assert reserved(Settings(gpus_per_worker=0.5), use_gpu=True) == {"GPU": 0.5}
    assert reserved(Settings(gpus_per_worker=0.5), use_gpu=False) == {"CPU": 1}
