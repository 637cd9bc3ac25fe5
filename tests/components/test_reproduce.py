import json
import shutil
from pathlib import Path

import pytest

from components.reproduce import compare, differences, run_again, verify_inputs
from components.runs import open_run
from components.settings import Settings
from components.storage import Folder, folder_at, to_parquet
from dtcm.config import with_overrides
from dtcm.errors import BadInput
from pipelines import reproduce_run
from tests.support.runs import upload


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of the trained run that may be changed."""
    return Folder(shutil.copytree(trained.run.folder.uri, tmp_path / "copy").as_posix())


def test_a_run_equals_its_copy(trained, copy):
    found = compare(trained.run.folder, copy)
    assert found.equal
    assert found.steps == 6


def test_where_two_runs_part_is_said(trained, copy):
    records = [json.loads(line) for line in copy.read("metrics.jsonl").splitlines()]
    fourth = [record for record in records if record["kind"] == "train"][3]
    fourth["metrics"]["total"] *= 1.5
    copy.write("metrics.jsonl", "\n".join(map(json.dumps, records)).encode())
    found = compare(trained.run.folder, copy)
    assert not found.equal
    assert found.parts_at == 4
    assert found.largest == pytest.approx(0.5)


def test_what_differs_from_then_is_named(copy):
    environment = json.loads(copy.read("environment.json"))
    environment |= {"git_dirty": True, "packages": {**environment["packages"], "torch": "1.0"}}
    copy.write("environment.json", json.dumps(environment).encode())
    said = " ".join(differences(copy))
    assert "changes beyond commit" in said
    assert "torch was 1.0 and is" in said


def test_inputs_are_verified_by_their_hashes(trained, copy, tmp_path):
    assert verify_inputs(trained.run.folder) == 24
    manifest = copy.read_table("manifest.parquet")
    rows = manifest.to_pylist()
    rows[5]["path"] = str(tmp_path / "changed.mp4")
    Path(rows[5]["path"]).write_bytes(b"other")
    table = type(manifest).from_pylist(rows, manifest.schema)
    copy.write("manifest.parquet", to_parquet(table))
    with pytest.raises(BadInput, match=r"1 of 24 files are missing or not the ones.*changed\.mp4"):
        verify_inputs(copy)


def test_weights_that_were_begun_with_are_inputs(trained, copy, tiny, tmp_path):
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"abc")
    begun = with_overrides(tiny, {"model.classifier_weights": str(weights)})
    run = open_run(begun, Settings(storage=str(tmp_path)), trained.run.read_table("manifest.parquet"))
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2's example
    assert json.loads(run.folder.read("environment.json"))["weights"] == [{"path": str(weights), "sha256": digest}]
    assert verify_inputs(run.folder) == 25
    weights.write_bytes(b"abd")
    with pytest.raises(BadInput, match=r"1 of 25 files .*w\.pth"):
        verify_inputs(run.folder)


def test_a_list_that_has_changed_is_named_before_curves_are_compared(trained, copy):
    manifest = copy.read_table("manifest.parquet")
    rows = manifest.to_pylist()
    rows[3]["label"] = 1 - rows[3]["label"]
    copy.write("manifest.parquet", to_parquet(type(manifest).from_pylist(rows, manifest.schema)))
    with pytest.raises(BadInput, match="other videos, labels or subsets"):
        compare(trained.run.folder, copy)


def test_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no finished run"):
        reproduce_run.main([str(tmp_path)])


@pytest.mark.slow
@pytest.mark.parametrize("where", ["disk", "s3"])
def test_a_run_is_done_again_by_the_code_of_its_commit(copy, s3, tiny_root, tmp_path, capsys, monkeypatch, where):
    """From the folder in which its command was given, below which its videos were named."""
    if json.loads(copy.read("environment.json"))["git_dirty"] is not False:
        pytest.skip("the training was of a tree with changes that no commit holds; commit them first")
    config = json.loads(copy.read("config.json"))
    config["data"]["root"] = tiny_root.name
    copy.write("config.json", json.dumps(config).encode())
    run, storage = copy.uri, str(tmp_path / "again")
    if where == "s3":
        run, storage = f"{s3}/{tmp_path.name}/run", f"{s3}/{tmp_path.name}/again"
        upload(Path(copy.uri), run)
    monkeypatch.chdir(tiny_root.parent)
    reproduce_run.main([run, "--storage", storage])
    said = capsys.readouterr().out
    assert "24 files, all with the hashes" in said
    assert "Equal: 6 steps" in said
    again = folder_at(said.split("Again: ")[1].splitlines()[0])
    assert again.uri.startswith(storage)
    assert again.has("result.json")


@pytest.mark.slow
def test_steps_are_computed_as_they_were_then(copy, tmp_path):
    if json.loads(copy.read("environment.json"))["git_dirty"] is not False:
        pytest.skip("the training was of a tree with changes that no commit holds; commit them first")
    then = json.loads(copy.read("execution.json")) | {"memory_format": "channels-last"}  # not what a CPU would choose
    copy.write("execution.json", json.dumps(then).encode())
    again = run_again(copy, str(tmp_path / "again"), workers=1)
    assert json.loads(again.read("execution.json"))["memory_format"] == "channels-last"
