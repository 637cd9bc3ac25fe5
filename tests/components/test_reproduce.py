import json
import shutil
from pathlib import Path

import pytest

from components.audit import to_parquet
from components.reproduce import compare, differences, verify_inputs
from components.storage import Folder, folder_at
from dtcm.errors import BadInput
from pipelines import reproduce_run


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
    with pytest.raises(BadInput, match=r"1 of 24 videos are missing or not the ones.*changed\.mp4"):
        verify_inputs(copy)


def test_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no finished run"):
        reproduce_run.main([str(tmp_path)])


@pytest.mark.slow
def test_a_run_is_done_again_by_the_code_of_its_commit(copy, tmp_path, capsys):
    if json.loads(copy.read("environment.json"))["git_dirty"] is not False:
        pytest.skip("the training was of a tree with changes that no commit holds; commit them first")
    reproduce_run.main([copy.uri, "--storage", str(tmp_path / "again")])
    said = capsys.readouterr().out
    assert "24 videos, all with the hashes" in said
    assert "Equal: 6 steps" in said
    again = folder_at(said.split("Again: ")[1].splitlines()[0])
    assert again.has("result.json")
