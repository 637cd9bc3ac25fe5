"""The audit as a user runs it: from lists, from a manifest, from both, and what is said of wrong input."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dtcm.data.leaks import Shared
from dtcm.errors import BadInput
from pipelines.audit_split import main

TRAIN = ["drumming/film_1.mp4 0", "rising/film_2.mp4 1", "rising/other_1.mp4 1"]
TEST = ["drumming/film_3.mp4 0", "rising/alone_1.mp4 1"]
FACTS = pa.schema([("sha256", pa.string()), ("fingerprint", pa.list_(pa.uint64()))])


@pytest.fixture
def lists(tmp_path):
    """Two splits in the form of Dark-48's lists; the second has train and test exchanged."""
    folder = tmp_path / "lists"
    folder.mkdir()
    for split, parts in ((1, (TRAIN, TEST)), (2, (TEST, TRAIN))):
        for part, lines in zip(("train", "test"), parts, strict=True):
            (folder / f"dark48_{part}_split{split}.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture
def manifest(tmp_path):
    """What an index without lists gives: all "train", no source; the last two are the same file."""
    names = [line.split()[0] for line in (*TRAIN, *TEST)]
    rows = [
        {
            "video_id": name,
            "path": f"/videos/{name}",
            "label": 5,
            "class_name": name.split("/")[0],
            "group": "",
            "subset": "train",
            "sha256": name if n < 2 else f"same {n == 3}",
            "fingerprint": [2**63 + n] * 9,
        }
        for n, name in enumerate(names)
    ]
    path = tmp_path / "videos.parquet"
    columns = [(name, pa.int32() if name == "label" else pa.string()) for name in rows[0] if name not in FACTS.names]
    pq.write_table(pa.Table.from_pylist(rows, pa.schema([*columns, *FACTS])), path)
    return path


def shared(path):
    return [Shared(**row) for row in pq.read_table(path).to_pylist()]


def test_lists_alone_are_enough(lists, tmp_path, capsys):
    main(["--lists", str(lists), "--out", str(tmp_path / "audit.parquet")])
    assert shared(tmp_path / "audit.parquet") == [
        Shared("drumming/film_3.mp4", "test", "same source", "drumming/film_1.mp4", True, 2)
    ]
    printed = capsys.readouterr().out
    assert "Leak-free: 1 of 2 test videos" in printed
    assert printed.splitlines()[-3:-1] == [
        "  test 1                           2       0             0",
        "  test 2                           0       3             0",
    ]


def test_the_lists_say_which_part_the_videos_of_a_manifest_are_in(lists, manifest, tmp_path, capsys):
    (lists / "dark48_test_split1.txt").write_text("\n".join([*TEST, "rising/gone_1.mp4 1"]))
    main([str(manifest), "--lists", str(lists), "--out", str(tmp_path / "audit.parquet")])
    found = shared(tmp_path / "audit.parquet")
    assert [(row.video_id, row.kind, row.seen_id, row.same_class) for row in found] == [
        ("rising/alone_1.mp4", "same file", "rising/other_1.mp4", True),
        ("drumming/film_3.mp4", "near duplicate", "drumming/film_1.mp4", True),
        ("drumming/film_3.mp4", "same source", "drumming/film_1.mp4", True),
    ]
    assert "1 of 6 listed videos are not in the manifest" in capsys.readouterr().out


def test_a_manifest_alone_has_its_own_parts(manifest, capsys):
    main([str(manifest)])
    printed = capsys.readouterr().out
    assert "Audit of 5 videos: 5 train" in printed
    assert "sets with several videos in one part: 1 in train" in printed
    assert "test 1" not in printed


def test_a_folder_of_videos_is_divided_as_for_training(tiny_root, capsys):
    main([str(tiny_root)])
    printed = capsys.readouterr().out
    assert "Audit of 24 videos" in printed
    assert "test against train and val" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name a manifest"),
        (["nowhere.parquet"], "nowhere.parquet cannot be read"),
        (["{lists}/broken.parquet"], "broken.parquet cannot be read"),
        (["{lists}/other.parquet"], "lacks class_name, group, label, subset"),
        (["{lists}/none.parquet", "--lists", "{lists}"], "none of the listed videos"),
        (["--lists", "{lists}", "--split", "3"], "split3"),
    ],
)
def test_wrong_input_is_told_in_a_sentence(lists, manifest, arguments, message):
    (lists / "broken.parquet").write_text("no table")
    pq.write_table(pa.table({"video_id": ["x"]}), lists / "other.parquet")
    table = pq.read_table(manifest)
    pq.write_table(table.set_column(0, "video_id", [[f"x{n}" for n in range(5)]]), lists / "none.parquet")
    with pytest.raises(BadInput, match=message):
        main([argument.format(lists=lists) for argument in arguments])


def test_official_lists_of_dark48(reference, capsys):
    main(["--lists", str(reference / "reference" / "annotations"), "--format", "dark48"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["same", "source", "138", "7.8%", "60", "100.0%"] in [line[:6] for line in lines]
    assert ["test", "1", "1763", "356", "351", "0"] in lines
