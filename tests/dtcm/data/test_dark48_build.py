"""A set built as Dark-48 is: what is chosen, how it is split, and what is written."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dtcm import figures
from dtcm.data.dark48_build import POOL, listed, read_category_map, select, three_splits
from dtcm.data.dark48_files import bars, gather, lists, markdown, read_pool, table_ii, write
from dtcm.data.datasets import classes, load, read_lists
from dtcm.data.datasets.dark48 import source_of, video_of
from dtcm.errors import BadInput
from dtcm.recipes import RECIPES


def pool(*videos, root="/pool"):
    """A manifest's columns for videos given as (video_id, dv, dv_released) or a video_id that is dark."""
    rows = []
    for video in videos:
        video_id, dv, released = video if isinstance(video, tuple) else (video, -0.9, -0.9)
        rows.append(
            {
                "video_id": video_id,
                "path": f"{root}/{video_id}",
                "class_name": Path(video_id).parent.name,
                "sha256": f"hash of {video_id}",
                "dv": dv,
                "is_dark": dv < -0.877,
                "dv_released": released,
                "is_dark_released": released < -0.877,
            }
        )
    return pa.Table.from_pylist(rows, POOL)


KINETICS = [f"train/juggling fire/{'abcdefghij'}{n}_000001_000011.mp4" for n in range(3)]
MOMENTS = [f"training/juggling+fire/yt-{n}_5.mp4" for n in range(2)] + [
    f"training/singing/flickr-{n}_5.mp4" for n in range(2)
]


def reasons(selection):
    return {row["path"]: row["reason"] for row in selection.to_pylist()}


def test_dark_videos_of_frequent_classes_are_chosen_and_pools_merged():
    bright = ("val/singing/bright_1.mp4", -0.5, -0.95)
    selection = select(pa.concat_tables([pool(*KINETICS), pool(*MOMENTS, bright, root="s3://mit/v")]), minimum=5)
    rows = selection.to_pylist()
    assert [row["name"] for row in rows[:5]] == [
        *(f"juggling_fire/abcdefghij{n}_000001_000011.mp4" for n in range(3)), "juggling_fire/yt-0_5.mp4",
        "juggling_fire/yt-1_5.mp4",
    ]  # fmt: skip
    assert [(row["label"], row["reason"], row["source"]) for row in rows[:4]] == [
        *((0, "", f"abcdefghij{n}") for n in range(3)),
        (0, "", "yt-0"),
    ]
    assert rows[4]["path"] == "s3://mit/v/training/juggling+fire/yt-1_5.mp4"
    assert [(row["name"], row["label"], row["reason"]) for row in rows[5:]] == [
        ("singing/flickr-0_5.mp4", -1, "rare class: it has 2 dark videos, fewer than 5"),
        ("singing/flickr-1_5.mp4", -1, "rare class: it has 2 dark videos, fewer than 5"),
        ("singing/bright_1.mp4", -1, "not dark"),
    ]


def test_the_released_rule_chooses_by_its_own_column():
    videos = [("a/x_1.mp4", -0.5, -0.95), ("a/y_1.mp4", -0.95, -0.5)]
    for rule, name, dv in (("paper", "a/y_1.mp4", -0.95), ("released", "a/x_1.mp4", -0.95)):
        (first, second) = select(pool(*videos), 1, rule).to_pylist()
        assert (first["name"], first["dv"], first["reason"]) == (name, dv, "")
        assert (second["dv"], second["reason"]) == (-0.5, "not dark")


def test_exactly_the_minimum_is_enough():
    assert len(select(pool(*KINETICS), minimum=3)) == 3
    with pytest.raises(BadInput, match=r"No class has 4 dark videos \(juggling_fire has most, 3\)"):
        select(pool(*KINETICS), minimum=4)
    with pytest.raises(BadInput, match="none is dark"):
        select(pool(("a/b_1.mp4", 0.0, 0.0)))


def test_a_category_map_merges_and_renames(tmp_path):
    (tmp_path / "map.csv").write_text("pool class,new class\njuggling fire,fire\nsinging , fire\n\n")
    merge = read_category_map(str(tmp_path / "map.csv"))
    assert merge == {"juggling_fire": "fire", "singing": "fire"}
    selection = select(pool(*KINETICS, *MOMENTS), minimum=7, category_map=merge)
    assert {row["class_name"] for row in selection.to_pylist()} == {"fire"}
    assert Counter(row["pool_class"] for row in selection.to_pylist()) == {
        "juggling fire": 3, "juggling+fire": 2, "singing": 2,
    }  # fmt: skip
    with pytest.raises(BadInput, match="No pool has the class 'dancing'"):
        select(pool(*KINETICS), 1, category_map={"dancing": "fire"})


@pytest.mark.parametrize("text", ["a\n", "a,\n", ",b\n", "a,b,c\n", "..,b\n", "a,/\n"])
def test_a_broken_category_map_is_refused_with_file_and_line(tmp_path, text):
    path = tmp_path / "map.csv"
    path.write_text("x,y\n" + text)
    with pytest.raises(BadInput, match=r"map\.csv, line 2"):
        read_category_map(str(path))
    path.write_text("x,y\nx,z\n")
    with pytest.raises(BadInput, match=r"map\.csv, line 2"):
        read_category_map(str(path))


def test_copies_within_a_class_are_chosen_once_and_no_class_is_said_so():
    table = pool("train/a/x_1.mp4", "val/a/x_1.mp4", "train/a/y_1.mp4", "train/b/y_1.mp4", "z_1.mp4")
    hashes = ["h1", "h2", "h1", "h1", "h5"]
    table = table.set_column(table.column_names.index("sha256"), "sha256", pa.array(hashes))
    assert reasons(select(table, minimum=1)) == {
        "/pool/train/a/x_1.mp4": "",
        "/pool/train/b/y_1.mp4": "",
        "/pool/val/a/x_1.mp4": "copy: /pool/train/a/x_1.mp4 has the same name or content",
        "/pool/train/a/y_1.mp4": "copy: /pool/train/a/x_1.mp4 has the same name or content",
        "/pool/z_1.mp4": "no class: it lies in no class folder",
    }


def test_a_pool_is_a_manifest_and_what_is_none_is_refused(tmp_path):
    place = str(tmp_path / "pool.parquet")
    pq.write_table(pool(*KINETICS).append_column("fps", pa.array([30.0] * 3)), place)
    assert read_pool(place).equals(pool(*KINETICS))
    pq.write_table(pool(*KINETICS).drop_columns(["is_dark_released"]), place)
    with pytest.raises(BadInput, match=r"no manifest .*is_dark_released"):
        read_pool(place)
    for content in (b"", b"not Parquet"):
        (tmp_path / "pool.parquet").write_bytes(content)
        with pytest.raises(BadInput, match="no manifest"):
            read_pool(place)
    with pytest.raises(BadInput, match="no manifest"):
        read_pool(str(tmp_path / "nothing.parquet"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("playing laser tag", "playing_laser_tag"),
        ("adult+male+singing", "adult_male_singing"),
        ("../a/b", "a_b"),
        ("..", ""),
    ],
)
def test_classes_are_written_as_dark48_writes_them(name, expected):
    assert listed(name) == expected


@pytest.fixture
def chosen():
    """Two classes of 100 and 103 clips, three of each source, and two sources that span both."""
    ids = [f"a/yt-{n // 3}_{n}.mp4" for n in range(100)] + [f"b/yt-b{n // 3}_{n}.mp4" for n in range(97)]
    return select(pool(*ids, *(f"b/yt-{n // 3}_{n}.mp4" for n in range(6))))


def counts(selection, split):
    return Counter(zip(selection["label"].to_pylist(), selection[f"split{split}"].to_pylist(), strict=True))


@pytest.mark.parametrize("by_source", [False, True])
def test_every_class_is_split_four_to_one_three_times(chosen, by_source):
    splits = three_splits(chosen, 0, by_source)
    for split in (1, 2, 3):
        found = counts(splits, split)
        assert (found[1, "train"], found[1, "test"]) == (82, 21)
        # Sources of three clips, and one of one, cannot make 20.
        assert (found[0, "train"], found[0, "test"]) in ([(81, 19), (79, 21)] if by_source else [(80, 20)])
    tests = [splits[f"split{split}"].to_pylist() for split in (1, 2, 3)]
    assert tests[0] != tests[1] != tests[2] != tests[0]
    assert three_splits(chosen, 0, by_source).equals(splits)
    assert not three_splits(chosen, 1, by_source).equals(splits)


def shared(selection, split):
    rows = [row for row in selection.to_pylist() if not row["reason"]]
    train, test = (
        {video_of(row["source"]) for row in rows if row[f"split{split}"] == name} for name in ("train", "test")
    )
    return train & test


def test_no_source_lies_on_both_sides_if_so_asked(chosen):
    assert all(shared(three_splits(chosen, 0), split) for split in (1, 2, 3))
    for seed in range(5):
        assert not any(shared(three_splits(chosen, seed, by_source=True), split) for split in (1, 2, 3))


def test_one_video_under_the_names_of_two_pools_stays_together():
    assert video_of("yt-abc") == video_of("abc") == "abc"
    assert video_of("getty_R-moon-video-id1") == video_of("getty-moon-video-id1") == "moon-video-id1"
    assert video_of("close-up-of-hands-video-id1") == "close-up-of-hands-video-id1"
    ids = [f"a/yt-{n}_1.mp4" for n in range(10)] + [f"b/{n}_000001_000011.mp4" for n in range(10)]
    splits = three_splits(select(pool(*ids), 10), 0, by_source=True)
    rows = splits.to_pylist()
    ids = {row["name"]: row["name"].split("/")[1].removeprefix("yt-").split("_")[0] for row in rows}
    train, test = ({ids[row["name"]] for row in rows if row["split1"] == part} for part in ("train", "test"))
    assert (len(train), len(test), train & test) == (8, 2, set())


def test_lists_have_the_form_of_the_public_ones(chosen, reference):
    official = reference / "reference" / "annotations"
    files = lists(three_splits(chosen, 0), 0)
    assert sorted(files) == sorted(path.name for path in official.glob("dark48_*"))
    for name, text in files.items():
        pattern = (
            r"(\d+\t\w+\n)*\d+\t\w+" if name.endswith("classInd.txt") else r"(\w+/\S+\.mp4 \d+\n)*\w+/\S+\.mp4 \d+"
        )
        assert re.fullmatch(pattern, text)
        assert re.fullmatch(pattern, (official / name).read_text())
    assert files["dark48_classInd.txt"] == "0\ta\n1\tb"
    lines = files["dark48_train_split1.txt"].split("\n")
    assert (len(lines), lines != sorted(lines)) == (162, True)


def test_dark48_itself_would_be_split_as_it_was(reference):
    """From the public names alone: its classes, its sizes, and the split that its sources would have allowed."""
    records = read_lists(str(reference / "reference" / "annotations"), "dark48")
    selection = select(pool(*(record.video_id for record in records)))
    assert selection.num_rows == 8815
    assert sorted(set(selection["class_name"].to_pylist())) == sorted({record.class_name for record in records})
    by_clip, by_source = three_splits(selection, 0), three_splits(selection, 0, by_source=True)
    published = Counter((record.label, record.subset) for record in records)
    assert sum(abs(counts(by_clip, 1)[key] - count) for key, count in published.items()) <= 2
    assert counts(by_source, 1) == counts(by_clip, 1)
    assert (len(shared(by_clip, 1)) > 100, shared(by_source, 1)) == (True, set())


def test_a_written_set_loads_with_its_recipe(tmp_path, chosen):
    for row in chosen.to_pylist():
        path = tmp_path / "pool" / row["path"].removeprefix("/pool/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(row["name"])
    moved = pa.array([str(tmp_path / path[1:]) for path in chosen["path"].to_pylist()])
    selection = three_splits(chosen.set_column(chosen.column_names.index("path"), "path", moved), 0)
    for _ in range(2):
        write(selection, tmp_path / "set", 0, b"png")
    data = replace(RECIPES["dark48"]().data, root=str(tmp_path / "set"))
    for split in (1, 2, 3):
        records = load(replace(data, split=split))
        assert Counter(record.subset for record in records) == {"train": 162, "test": 41}
        assert classes(records) == ["a", "b"]
        assert {r.video_id: r.subset for r in records} == dict(
            zip(selection["name"].to_pylist(), selection[f"split{split}"].to_pylist(), strict=True)
        )
    assert all(Path(record.path).read_text() == record.video_id for record in records)
    assert all(record.source == source_of(record.video_id) for record in records)
    assert pq.read_table(tmp_path / "set" / "selection.parquet").equals(selection)
    (tmp_path / "pool" / "a" / "yt-0_0.mp4").unlink()
    with pytest.raises(BadInput, match="gone since its pool was indexed"):
        gather(selection, tmp_path / "set" / "clips")


def test_videos_of_a_bucket_are_copied(tmp_path, put_s3, s3):
    for n in range(3):
        put_s3(f"pool/a/yt-{n}_1.mp4", f"video {n}")
    selection = select(pool(*(f"a/yt-{n}_1.mp4" for n in range(3)), root=f"{s3}/pool"), 3)
    for _ in range(2):
        gather(selection, tmp_path)
    assert {path.name: path.read_text() for path in (tmp_path / "a").iterdir()} == {
        f"yt-{n}_1.mp4": f"video {n}" for n in range(3)
    }


def test_table_ii_and_fig_5(chosen):
    splits = three_splits(chosen, 0)
    table = table_ii(splits, "night")
    assert table[1:] == [
        ["ARID (paper)", "11", "18", "", "3784"],
        ["Dark-48 (paper)", "48", "≥ 40", "", "8815"],
        ["night", "2", "not labelled", "67", "203"],
    ]
    assert markdown(table).splitlines()[4] == "| night | 2 | not labelled | 67 | 203 |"
    assert bars(splits) == {"a": (80, 20), "b": (82, 21)}
    png = figures.class_bars(bars(splits), "night, split 1")
    assert png.startswith(b"\x89PNG")
    assert png != figures.class_bars({"a": (80, 20), "b": (82, 41)}, "night, split 1")
