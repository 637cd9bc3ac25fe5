"""From pools of labelled videos to a set that trains: the whole command."""

from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from dtcm.data.datasets import classes, load
from dtcm.errors import BadInput
from dtcm.recipes import RECIPES
from pipelines import build_dark48, train_dark48, train_uavhuman


def test_a_folder_and_its_manifest_become_the_same_set(cluster, tiny_root, tmp_path, capsys):
    pool = tmp_path / "pool"
    for n, video in enumerate(sorted(tiny_root.glob("Left/*.mp4"))):
        name = f"abcdefghij{'klmnop'[n // 2]}_{n % 2:06d}_{n % 2 + 10:06d}.mp4"
        link(video, pool / "kinetics" / "train" / "going left" / name)
    for n, video in enumerate(sorted(tiny_root.glob("Right/*.mp4"))):
        link(video, pool / "moments" / "training" / ("going+right" if n < 9 else "rarely") / f"yt-{n // 2}_{n}.mp4")
    out = tmp_path / "night"
    build_dark48.main([str(pool), "--out", str(out), "--minimum", "4", "--by-source"])
    selection = pq.read_table(out / "selection.parquet")
    printed = capsys.readouterr().out
    assert selection.num_rows == 24
    assert f"{selection['reason'].to_pylist().count(''):8d} chosen" in printed
    assert "| Dark-48 (paper) | 48 | ≥ 40 |  | 8815 |" in printed
    assert (out / "table2.csv").read_text().splitlines()[-1].startswith("night,2,not labelled,")
    assert (out / "fig5.png").read_bytes().startswith(b"\x89PNG")
    records = load(replace(RECIPES["dark48"]().data, root=str(out), split=2))
    assert classes(records) == ["going_left", "going_right"]
    train, test = ({record.source for record in records if record.subset == name} for name in ("train", "test"))
    assert (bool(train), bool(test), train & test) == (True, True, set())
    again, manifest = tmp_path / "again", str(out / "pool1.parquet")
    build_dark48.main([manifest, manifest, "--out", str(again), "--minimum", "4", "--by-source"])
    for name in ("dark48_train_split1.txt", "dark48_test_split3.txt", "dark48_classInd.txt"):
        assert (again / name).read_text() == (out / name).read_text()


def link(video, place):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(video)


def test_the_set_is_built_on_this_machine():
    with pytest.raises(BadInput, match="let --out name a folder"):
        build_dark48.main(["pool.parquet", "--out", "s3://bucket/set"])


@pytest.mark.parametrize(("entry", "name"), [(train_dark48, "dark48"), (train_uavhuman, "uavhuman-fisheye")])
def test_training_starts_from_the_data_sets_recipe_unless_another_is_named(entry, name):
    with pytest.raises(BadInput, match=f"Where is {name}"):
        entry.main([])
    with pytest.raises(BadInput, match="Where is arid-v1"):
        entry.main(["--recipe", "arid-v1"])


def test_help_needs_no_data(capsys):
    for entry in (build_dark48, train_dark48, train_uavhuman):
        with pytest.raises(SystemExit) as ended:
            entry.main(["--help"])
        assert ended.value.code == 0
    assert "--by-source" in capsys.readouterr().out
