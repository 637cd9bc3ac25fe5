"""Tables of the user's own: what they may say, and what is said of a broken one."""

import dataclasses
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dtcm.config import DataConfig
from dtcm.data.datasets import classes, load, read_lists
from dtcm.data.records import VideoRecord
from dtcm.errors import BadInput

FULL = """path,label,class,subset,group,source
b/2.mp4,1,run,test,g2,
a/1.mp4,0,"walk, slowly",train,g1,tape 7
"""


def touch(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


@pytest.fixture
def root(tmp_path):
    touch(tmp_path / "videos", "a/1.mp4", "b/2.mp4")
    return tmp_path / "videos"


def write(root, text, name="table.csv"):
    path = root.parent / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return DataConfig(root=str(root), lists=str(path))


def test_every_column_becomes_a_field(root):
    records = load(write(root, FULL))
    assert records == [
        VideoRecord("a/1.mp4", f"{root}/a/1.mp4", 0, "walk, slowly", "g1", "train", "tape 7"),
        VideoRecord("b/2.mp4", f"{root}/b/2.mp4", 1, "run", "g2", "test", ""),
    ]
    assert read_lists(str(root.parent / "table.csv")) == [
        dataclasses.replace(record, path=record.video_id) for record in reversed(records)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path,class\nb/2.mp4,walk\na/1.mp4,run\n", [("a/1.mp4", 0, "run"), ("b/2.mp4", 1, "walk")]),
        ("path,class_name\nb/2.mp4,walk\na/1.mp4,run\n", [("a/1.mp4", 0, "run"), ("b/2.mp4", 1, "walk")]),
        ("path,label\nb/2.mp4,2\n\na/1.mp4,0\n", [("a/1.mp4", 0, "class 0"), ("b/2.mp4", 2, "class 2")]),
        ("\ufeff path , label \r\n b/2.mp4 , 0 \r\n", [("b/2.mp4", 0, "class 0")]),
    ],
)
def test_label_or_class_is_enough(root, text, expected):
    assert [(r.video_id, r.label, r.class_name) for r in load(write(root, text))] == expected
    assert {record.subset for record in load(write(root, text))} == {"train"}


def test_a_mapping_table_beside_it_orders_the_classes(root):
    (root.parent / "mapping_table.txt").write_text("0\twalk\n1\trun\n")
    assert classes(load(write(root, "path,class\na/1.mp4,run\n"))) == ["class 0", "run"]
    with pytest.raises(BadInput, match="line 2: the mapping table has no class 'swim'"):
        load(write(root, "path,class\na/1.mp4,swim\n"))
    with pytest.raises(BadInput, match="line 2: there is no class 2"):
        load(write(root, "path,label\na/1.mp4,2\n"))


def test_parquet_is_read_as_csv_is_and_a_manifest_is_a_table(root):
    rows = [
        {"video_id": "x", "path": f"{root}/a/1.mp4", "label": 0, "class_name": "walk", "group": "", "dv": -0.9},
        {"video_id": "y", "path": "b/2.mp4", "label": 1, "class_name": "run", "group": "g2", "dv": -0.9},
    ]
    pq.write_table(pa.Table.from_pylist(rows), root.parent / "manifest.parquet")
    records = load(DataConfig(root=str(root), lists=str(root.parent / "manifest.parquet")))
    assert records == [
        VideoRecord("a/1.mp4", f"{root}/a/1.mp4", 0, "walk"),
        VideoRecord("b/2.mp4", f"{root}/b/2.mp4", 1, "run", "g2"),
    ]


def test_an_absolute_path_and_a_uri_stand_for_themselves(root, tmp_path, s3, put_s3):
    touch(tmp_path / "elsewhere", "c.mp4")
    put_s3("table/deep/d.mp4")
    there = [f"{tmp_path}/elsewhere/c.mp4", f"{s3}/table/deep/d.mp4"]
    records = load(write(root, "path,label\na/1.mp4,0\n" + "".join(f"{path},0\n" for path in there)))
    assert sorted(record.path for record in records) == sorted([*there, f"{root}/a/1.mp4"])
    assert {record.video_id for record in records} == {"a/1.mp4", *there}
    gone = [f"{tmp_path}/elsewhere/gone.mp4", f"{s3}/table/deep/gone.mp4", f"{s3}/gone/d.mp4"]
    with pytest.raises(BadInput, match="3 of 4 listed videos") as caught:
        load(write(root, "path,label\na/1.mp4,0\n" + "".join(f"{path},0\n" for path in gone)))
    assert ", ".join(gone) in str(caught.value)


def test_the_only_table_of_the_folder_is_found_if_the_format_is_named(root):
    (root / "mine.csv").write_text("path,label\na/1.mp4,0\n")
    data = DataConfig(root=str(root), format="table")
    assert [record.video_id for record in load(data)] == ["a/1.mp4"]
    (root / "yours.csv").write_text("path,label\na/1.mp4,0\n")
    with pytest.raises(BadInput, match=r"holds mine\.csv, yours\.csv; let data\.lists name"):
        load(data)
    with pytest.raises(BadInput, match="holds no table"):
        load(DataConfig(root=str(root / "a"), format="table"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no video"),
        ("path,label\n", "lists no video"),
        ("file,label\na/1.mp4,0\n", r"needs the column path, and label or class or both; it has file, label"),
        ("path,group\na/1.mp4,g\n", "needs the column path"),
        ("path,label\na/1.mp4,0,9\n", "line 2: 3 fields where the header has 2"),
        ("path,label\n\na/1.mp4\n", "line 3: 1 fields"),
        ("path,label\n,0\n", "line 2: there is no path"),
        ("path,label\n.,0\n", "line 2: there is no path"),
        ("path,label\n../a/1.mp4,0\n", "line 2: .* leads out"),
        ("path,label\na/../../1.mp4,0\n", "line 2: .* leads out"),
        ("path,label\na/1.mp4,one\n", "line 2: the label 'one'"),
        ("path,label\na/1.mp4,-1\n", "line 2: the label '-1'"),
        (f"path,label\na/1.mp4,{'9' * 5000}\n", "line 2: the label '9"),
        ("path,label,class\na/1.mp4,,\n", "line 2: there is neither"),
        ("path,label,subset\na/1.mp4,0,training\n", "line 2: the subset 'training' is none of train, val, test, other"),
        ("path,label,class\na/1.mp4,0,a\nb/2.mp4,0,b\n", "line 3: class 'b' with label 0 contradicts"),
        ("path,label,class\na/1.mp4,0,a\nb/2.mp4,1,a\n", "class 'a' with label [01] contradicts"),
        ('path,label\n"a/1.mp4,0\n', "line 2: this is not CSV"),
        ("path,label\na/1.mp4,0\na/1.mp4,0\n", "listed twice"),
        (b"\xff\xfe\x00", "not a text file"),
    ],
)
def test_a_broken_table_is_refused_with_file_and_line(root, text, message):
    data = write(root, text)
    with pytest.raises(BadInput, match=message):
        load(data)


def test_what_is_no_parquet_is_refused(root):
    with pytest.raises(BadInput, match="cannot be read as Parquet"):
        load(write(root, "path,label\n", "table.parquet"))
    pq.write_table(pa.table({"name": ["a"]}), root.parent / "other.parquet")
    with pytest.raises(BadInput, match="needs the column path"):
        load(DataConfig(root=str(root), lists=str(root.parent / "other.parquet")))


@pytest.mark.parametrize("name", ["table.csv", "table.parquet", "list.txt"])
def test_damaged_bytes_never_end_in_a_traceback(root, name):
    rng = random.Random(name)
    pq.write_table(pa.table({"path": ["a/1.mp4"], "label": [0]}), root.parent / "good.parquet")
    good = {"csv": FULL.encode(), "txt": b"0\t0\ta/1.mp4\n1\t1\tb/2.mp4\n"}
    good["parquet"] = (root.parent / "good.parquet").read_bytes()
    loaded, sentences = 0, []
    for _ in range(150):
        content = bytearray(good[name.partition(".")[2]])
        for _ in range(rng.randint(0, 6)):
            content[rng.randrange(len(content))] = rng.choice([0, 9, 10, 34, 44, 46, 47, 255, rng.randrange(256)])
        length = rng.choice([len(content), rng.randint(1, len(content))])
        try:
            records = load(write(root, bytes(content[:length]), name))
        except BadInput as error:
            sentences.append(str(error))
        else:
            loaded += 1
            assert all(Path(record.path).is_file() for record in records)
    assert loaded
    assert sentences
    assert not [sentence for sentence in sentences if "\n" in sentence]
