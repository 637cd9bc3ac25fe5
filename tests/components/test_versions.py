import pickle
import shutil
from pathlib import Path

import mlflow
import pytest

from components.model_card import LINEAGE
from components.settings import Settings, redacted
from components.tester import read_bundle
from components.versions import Versions, bundle_of, harmless_bundle
from dtcm.errors import BadInput


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.fixture
def downloaded(trained, tmp_path):
    versions = Versions(trained.tracking_uri, trained.model_version.split(" ")[0])
    version = versions.find("challenger")
    assert version
    return Path(versions.download(version, tmp_path / "model").uri).parents[1]


def test_a_version_says_where_it_comes_from_and_holds_its_card(trained, downloaded):
    version = Versions(trained.tracking_uri, "dtcm-" + trained.run.experiment.data.name + "-split1").find("challenger")
    assert version
    assert set(LINEAGE) <= set(version.tags)
    assert version.tags["run"] == trained.run.folder.uri
    assert float(version.tags["top1_low"]) == pytest.approx(trained.test["top1_low"], rel=1e-5)
    card = (downloaded / "artifacts" / "bundle" / "MODEL_CARD.md").read_text()
    assert version.tags["manifest_sha256"] in card
    assert "Left, Right" in card
    lock = (downloaded / "artifacts" / "bundle" / "environment.lock").read_text()
    assert f"torch=={__import__('torch').__version__}" in lock
    assert "dtcm==" not in lock  # no index has it


@pytest.mark.parametrize("name", ["python_model.pkl", "artifacts/bundle/extra.pt", "code/x.so", "artifacts/model.bin"])
def test_a_pickle_beside_a_registered_model_is_refused_and_never_opened(downloaded, tmp_path, name):
    (downloaded / name).write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    with pytest.raises(BadInput, match="may be a pickle"):
        harmless_bundle(downloaded, "models:/x/1")
    assert not (tmp_path / "boom").exists()


def test_a_pickle_in_place_of_the_weights_is_refused(trained, tmp_path):
    planted = tmp_path / "run"
    shutil.copytree(trained.run.model.uri, planted / "model")
    (planted / "model" / "model.safetensors").write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    with bundle_of(str(planted), Settings()) as model, pytest.raises(BadInput, match="no safetensors"):
        read_bundle(model)
    assert not (tmp_path / "boom").exists()


def test_a_model_is_found_by_run_by_alias_and_by_number(trained):
    settings = Settings(tracking_uri=trained.tracking_uri)
    name, number = trained.model_version.split(" version ")
    for model in (trained.run.folder.uri, f"models:/{name}@challenger", f"models:/{name}/{number}"):
        with bundle_of(model, settings) as folder:
            assert folder.read("model.safetensors") == trained.run.model.read("model.safetensors")


@pytest.mark.parametrize(
    ("model", "sentence"),
    [("models:/nothing/1", "no registered model 'nothing'"), ("models:/{}@champion", "no version 'champion'")],
)
def test_a_model_that_is_not_there_is_named(trained, model, sentence):
    name = trained.model_version.split(" ")[0]
    with (
        pytest.raises(BadInput, match=sentence),
        bundle_of(model.format(name), Settings(tracking_uri=trained.tracking_uri)),
    ):
        pass


def test_a_registry_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(BadInput, match="no registry"):
        Versions(f"sqlite:///{tmp_path / 'none.db'}", "dtcm")
    assert not (tmp_path / "none.db").exists()


def test_passwords_in_uris_are_taken_out():
    assert redacted("--uri=postgresql://me:secret@db:5432/x") == "--uri=postgresql://***@db:5432/x"
    assert redacted("at http://me:p@ss@host/api, models:/x@champion") == "at http://***@host/api, models:/x@champion"
    assert redacted("s3://b/k?region=eu&secret_key=abc/d=&x=1 no") == "s3://b/k?region=eu&secret_key=***&x=1 no"
    assert redacted("s3://bucket/key and me@home") == "s3://bucket/key and me@home"


def test_loading_from_mlflow_runs_no_pickle(trained):
    name = trained.model_version.split(" ")[0]
    mlflow.set_tracking_uri(trained.tracking_uri)
    info = mlflow.models.get_model_info(f"models:/{name}@challenger")
    flavor = info.flavors["python_function"]
    assert flavor["loader_module"] == "mlflow.pyfunc.loaders.code_model"
    assert info.signature.inputs.inputs[0].shape == (-1, 8, 24, 24, 3)
