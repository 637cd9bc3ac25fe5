"""Every format on disk and in S3, and how the format is found."""

import pytest

from dtcm.config import DataConfig
from dtcm.data.datasets import check, load, read_lists
from dtcm.errors import BadInput

UAV = "P{:03d}S01G10B00H10UC102000LC092000A000R0_09131758.avi"
TABLE = "0\tDrink\n1\tJump\n"
SETS = {
    "arid-v1": {
        "clips/Drink/Drink_1_1.mp4": "",
        "clips/Jump/Jump_2_1.mp4": "",
        "lists/ARID_split1_train.txt": "0\t0\tDrink/Drink_1_1.avi\n",
        "lists/ARID_split1_test.txt": "0\t1\tJump/Jump_2_1.avi\n",
        "lists/ARID_mapping_table.txt": TABLE,
    },
    "arid-v15": {
        "train/Drink/Drink_1_1.mp4": "",
        "test/0.mp4": "",
        "ARID1.1_t1_train_pub.csv": "VideoID,Video,ClassID\n0,Drink/Drink_1_1.mp4,0\n",
        "ARID1.1_t1_test_pub.csv": "VideoID,Video,ClassID\n0,0.mp4,1\n",
    },
    "dark48": {
        "Drink/yt-a_1.mp4": "",
        "Jump/abc_000001_000011.mp4": "",
        "lists/dark48_train_split1.txt": "Drink/yt-a_1.mp4 0",
        "lists/dark48_test_split1.txt": "Jump/abc_000001_000011.mp4 1",
        "lists/dark48_classInd.txt": TABLE,
    },
    "uavhuman": {UAV.format(0): "", f"deep/er/{UAV.format(1)}": ""},
    "table": {
        "clips_v2/Drink_1.mp4": "",
        "clips_v2/Jump_1.mp4": "",
        "list.txt": "Drink_1 0\nJump_1 1\n",
        "mapping_table.txt": TABLE,
    },
    "folder": {"Drink/Drink_1_1.mp4": "", "Jump/a.webm": "", "read.me": ""},
}
NOTES = {
    "uavhuman": (
        "There is no clip of 117 of 119 persons (88 for training, 29 for testing) "
        "and of 154 of 155 actions (A001, A002, A003, A004, A005, ...).",
    ),
}


@pytest.fixture(params=["disk", "s3"])
def put(request, tmp_path):
    """put({name: text}) -> the folder or URI that then holds the files."""

    def put_disk(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return str(tmp_path)

    def put_bucket(files):
        put_s3 = request.getfixturevalue("put_s3")
        for name, text in files.items():
            put_s3(f"{tmp_path.name}/{name}", text)
        return f"{request.getfixturevalue('s3')}/{tmp_path.name}"

    return put_disk if request.param == "disk" else put_bucket


@pytest.mark.parametrize("name", SETS)
def test_every_format_is_found_and_may_be_named(put, name):
    root = put(SETS[name])
    found = check(DataConfig(root=root))
    assert (found.format, len(found.records), found.missing) == (name, 2, ())
    assert found.notes == NOTES.get(name, ())
    assert load(DataConfig(root=root, format=name)) == list(found.records)
    assert {record.path for record in found.records} == {f"{root}/{name}" for name, text in SETS[name].items()
                                                         if not text and name != "read.me"}  # fmt: skip


@pytest.mark.parametrize("name", ["arid-v1", "dark48"])
def test_lists_elsewhere_and_what_is_missing(put, name):
    files = SETS[name]
    root = put({f"data/{file}": text for file, text in files.items() if not text}
               | {f"lists/{file.removeprefix('lists/')}": text for file, text in files.items() if text})  # fmt: skip
    records = load(DataConfig(root=f"{root}/data/", lists=f"{root}/lists/"))
    assert [record.subset for record in records] == ["train", "test"]
    assert (
        [r.label for r in read_lists(f"{root}/lists", name)] == [r.label for r in read_lists(f"{root}/lists")] == [0, 1]
    )
    with pytest.raises(BadInput, match=r"2 of 2 listed videos are not under .*lists \(1 train, 1 test\)"):
        load(DataConfig(root=f"{root}/lists"))


def test_lists_of_two_data_sets_in_one_folder_need_the_format(put):
    root = put(SETS["arid-v15"] | SETS["dark48"] | {name.removeprefix("lists/"): text
               for name, text in SETS["dark48"].items()})  # fmt: skip
    data = DataConfig(root=root, lists=root)
    with pytest.raises(BadInput, match="lists of arid-v15 and dark48; choose one"):
        load(data)
    with pytest.raises(BadInput, match="lists of arid-v15 and dark48; name one"):
        read_lists(root)
    for name in ("arid-v15", "dark48"):
        found = check(DataConfig(root=root, lists=root, format=name))
        assert {record.video_id for record in found.records} == {file for file, text in SETS[name].items() if not text}
        assert "2 videos" in found.notes[0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("arid-v1", r"lacks ARID_split1_train\.txt, ARID_split1_test\.txt; it has no list"),
        ("arid-v15", r"lacks ARID1\.1_t1_train_pub\.csv, ARID1\.1_t1_test_pub\.csv"),
        ("dark48", r"lacks dark48_train_split1\.txt, dark48_test_split1\.txt"),
        ("uavhuman", "2 of 2 videos .* not named as UAV-Human"),
        ("table", "holds no table"),
    ],
)
def test_a_named_format_that_is_not_there_says_which_files_are_missing(put, name, message):
    with pytest.raises(BadInput, match=message):
        load(DataConfig(root=put(SETS["folder"]), format=name))


@pytest.mark.parametrize(
    ("name", "file", "line"),
    [
        ("arid-v1", "lists/ARID_split1_train.txt", "0\t0\t{}\n"),
        ("arid-v15", "ARID1.1_t1_train_pub.csv", "VideoID,Video,ClassID\n0,{},0\n"),
        ("dark48", "lists/dark48_train_split1.txt", "{} 0\n"),
        ("table", "list.txt", "{} 0\n"),
    ],
)
def test_a_path_that_leaves_the_root_is_refused_in_every_list(put, name, file, line):
    for path in ("../x.mp4", "Drink/../../x.mp4", "/etc/passwd"):
        with pytest.raises(BadInput, match="leads out"):
            load(DataConfig(root=put(SETS[name] | {file: line.format(path)}), format=name))


def test_a_path_that_leaves_the_root_is_refused_in_a_table(put, s3):
    root = put(SETS["folder"])
    for path, sentence in (("Drink/../../x.mp4", "line 2: .* leads out"), (f"{s3}/a/../x.mp4", "no part of a key")):
        put({"x.csv": f"path,label\n{path},0\n"})
        with pytest.raises(BadInput, match=sentence):
            load(DataConfig(root=root, lists=f"{root}/x.csv"))


def test_keys_that_lead_out_of_the_root_are_no_videos_of_it(put_s3, s3, tmp_path):
    for name in ("Drink/a.mp4", "../secret.mp4", "../Drink/secret.mp4", "Drink/../../secret.mp4"):
        put_s3(f"{tmp_path.name}/root/{name}")
    found = check(DataConfig(root=f"{s3}/{tmp_path.name}/root"))
    assert [record.video_id for record in found.records] == ["Drink/a.mp4"]


def test_a_place_that_is_not_there_is_refused(put):
    root = put(SETS["folder"])
    with pytest.raises(BadInput, match=r"data\.root"):
        load(DataConfig(root=f"{root}/nowhere"))
    for lists in (f"{root}/nowhere/else", f"{root}/nowhere.csv", f"{root}/read"):
        with pytest.raises(BadInput, match=r"data\.lists"):
            load(DataConfig(root=root, lists=lists))


def test_a_uri_with_options_keeps_them(put_s3, s3, tmp_path):
    for name, text in SETS["dark48"].items():
        put_s3(f"{tmp_path.name}/{name}", text)
    put_s3(
        f"{tmp_path.name}/table.csv",
        f"path,label\nDrink/yt-a_1.mp4,0\n{s3}/{tmp_path.name}/Jump/gone.mp4?scheme=http,0\n",
    )
    root = f"{s3}/{tmp_path.name}?scheme=http"
    assert [record.path for record in load(DataConfig(root=root))] == [
        f"{s3}/{tmp_path.name}/Drink/yt-a_1.mp4?scheme=http",
        f"{s3}/{tmp_path.name}/Jump/abc_000001_000011.mp4?scheme=http",
    ]
    found = check(DataConfig(root=root, lists=f"{s3}/{tmp_path.name}/table.csv?scheme=http"))
    assert [record.video_id for record in found.records] == ["Drink/yt-a_1.mp4"]
    assert [record.path for record in found.missing] == [f"{s3}/{tmp_path.name}/Jump/gone.mp4?scheme=http"]
