"""Files on disk and in S3 look alike, and a store that fails now and then is asked again."""

import os

import pytest
from pyarrow import fs

from dtcm.data.files import File, absolute, filesystem, is_folder, join, list_files, read_bytes
from dtcm.errors import BadInput

CONTENT = {"a.mp4": b"one", "b/c d?.mp4": b"two", "b/e#%41.mp4": b"three", ".hidden/x.mp4": b"no", "b/.y.mp4": b"no"}


@pytest.fixture(params=["disk", "s3"])
def folder(request, tmp_path):
    """A folder with the files of CONTENT."""
    place = str(tmp_path) if request.param == "disk" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"
    write(place, CONTENT)
    return place


def write(place, content):
    for name, value in content.items():
        system, path = filesystem(join(place, name))
        if isinstance(system, fs.LocalFileSystem):
            system.create_dir(os.path.dirname(path))
        with system.open_output_stream(path) as stream:
            stream.write(value)


def test_files_are_listed_with_their_sizes_without_the_hidden_ones(folder):
    files = list_files(folder)
    assert [(file.name, file.bytes) for file in files] == [("a.mp4", 3), ("b/c d?.mp4", 3), ("b/e#%41.mp4", 5)]
    assert all(file.modified_s > 1.7e9 for file in files)


def test_a_listed_file_is_read_by_its_joined_place(folder):
    assert {file.name: read_bytes(join(folder, file.name)) for file in list_files(folder)} == {
        name: value for name, value in CONTENT.items() if value != b"no"
    }


def test_what_is_not_there_is_said(folder):
    assert is_folder(folder)
    assert not is_folder(join(folder, "nothing"))
    with pytest.raises(FileNotFoundError):
        read_bytes(join(folder, "nothing.mp4"))
    with pytest.raises(BadInput, match="no folder"):
        list_files(join(folder, "nothing"))


def test_a_link_to_a_folder_above_is_not_followed_for_ever(tmp_path):
    write(str(tmp_path), {"a.mp4": b"one"})
    (tmp_path / "elsewhere").mkdir()
    write(str(tmp_path / "elsewhere"), {"b.mp4": b"two"})
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "up").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "elsewhere")
    assert [file.name for file in list_files(str(tmp_path / "root"))] == ["linked/b.mp4"]


def test_options_of_a_uri_stay_at_its_end():
    uri = "s3://bucket/videos?endpoint_override=127.0.0.1:9000&scheme=http"
    assert join(uri, "a?.mp4") == "s3://bucket/videos/a?.mp4?endpoint_override=127.0.0.1:9000&scheme=http"
    assert filesystem(join(uri, "a?.mp4"))[1] == "bucket/videos/a?.mp4"
    assert absolute("s3://bucket/videos/") == "s3://bucket/videos"


def test_a_store_that_fails_every_twentieth_request_loses_nothing(s3, faulty_s3, tmp_path):
    options, failures = faulty_s3
    place = f"{s3}/{tmp_path.name}"
    content = {f"{number}.bin": bytes([number]) * 70_000 for number in range(60)}
    write(place, content)
    assert {file.name: read_bytes(join(place + options, file.name)) for file in list_files(place + options)} == content
    assert {fault for _, _, fault in failures} == {"500", "503", "cut", "half"}


def test_a_key_that_leads_out_of_its_folder_is_neither_listed_nor_read(s3, put_s3, tmp_path):
    root = f"{s3}/{tmp_path.name}/root"
    names = ("../secret.mp4", "a/../../secret.mp4", "./../secret.mp4")
    for name in ("a.mp4", *names):
        put_s3(f"{tmp_path.name}/root/{name}", "within")
    put_s3(f"{tmp_path.name}/secret.mp4", "outside")
    assert [file.name for file in list_files(root)] == ["a.mp4"]
    for name in (*names, "/a.mp4"):  # of an address with "..", a client may make a shorter one, as of a web page's
        with pytest.raises(BadInput, match="no part of a key"):
            read_bytes(join(root, name))
    with pytest.raises(BadInput, match="no part of a key"):
        list_files(join(root, ".."))


def test_a_listed_file_knows_its_size(tmp_path):
    (tmp_path / "x").write_bytes(b"12345")
    os.utime(tmp_path / "x", (10, 20))
    assert list_files(str(tmp_path)) == [File("x", 5, 20.0)]


@pytest.mark.parametrize("place", ["ftp://host/videos", "s3://", "nonsense://x"])
def test_a_place_that_cannot_be_opened_is_refused_in_one_sentence(place):
    with pytest.raises(BadInput, match="cannot be opened"):
        filesystem(place)
