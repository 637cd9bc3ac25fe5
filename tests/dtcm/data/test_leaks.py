"""Audits: planted leaks of every kind, copies within and across parts, and what the official lists say."""

import dataclasses
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dtcm.data.datasets import read_lists
from dtcm.data.leaks import (
    CopySet,
    Shared,
    audit,
    describe,
    describe_overlaps,
    leak_column,
    leaked,
    overlaps,
    to_table,
)
from dtcm.data.records import VideoRecord

FULL = np.uint64(2**64 - 1)


def words(seed, flip=0):
    """A fingerprint of its own for every seed; `flip` bits of its motion differ from those of flip=0."""
    drawn = np.random.default_rng(seed).integers(1, 2**63, 9, dtype=np.uint64)
    drawn[1 : 1 + flip // 64] ^= FULL
    drawn[-1] ^= np.uint64(2 ** (flip % 64) - 1)
    return drawn.tolist()


def video(name, subset, label=0, group="", source="", sha256=None, fingerprint=None):
    """A row of a manifest, as far as an audit reads it; file and fingerprint are its own unless given."""
    return {
        "video_id": name,
        "path": f"/videos/{name}",
        "label": label,
        "class_name": "abc"[label],
        "group": group,
        "subset": subset,
        "source": source,
        "sha256": sha256 or f"sha of {name}",
        "fingerprint": fingerprint or words(sum(map(ord, name)) + 1000 * len(name)),
    }


def manifest(*rows):
    schema = pa.schema(
        [(name, pa.int32() if name == "label" else pa.string()) for name in rows[0] if name != "fingerprint"]
        + [("fingerprint", pa.list_(pa.uint64()))]
    )
    return pa.Table.from_pylist(list(rows), schema)


PLANTED = manifest(
    video("clean", "test", group="a_9", source="film 9"),
    video("file", "test", sha256="same", fingerprint=words(1)),
    video("file too", "train", sha256="same", fingerprint=words(1)),
    video("near", "test", label=1, fingerprint=words(2, flip=96)),
    video("near too", "train", fingerprint=words(2)),
    video("far", "test", fingerprint=words(3, flip=97)),
    video("far too", "train", fingerprint=words(3)),
    video("source", "test", label=1, group="b_1", source="film 1"),
    video("source 0", "train", source="film 1"),
    video("source 1", "train", label=1, source="film 1"),
    video("group", "test", label=2, group="c_1"),
    video("group too", "val", label=2, group="c_1"),
    video("train 1", "train", group="a_1"),
    video("validation", "val", source="film 1"),
    video("left alone", "other", source="film 9", sha256="same"),
)


def found(kind, subset="test", table=PLANTED):
    return [shared for shared in audit(table).shared if (shared.kind, shared.subset) == (kind, subset)]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("same video", []),
        ("same file", [Shared("file", "test", "same file", "file too", True, 1)]),
        ("near duplicate", [Shared("near", "test", "near duplicate", "near too", False, 1)]),
        ("same source", [Shared("source", "test", "same source", "source 1", True, 3)]),
        ("same group", [Shared("group", "test", "same group", "group too", True, 1)]),
        (
            "same scene",
            [
                Shared("source", "test", "same scene", "group too", False, 2),
                Shared("group", "test", "same scene", "group too", True, 2),
            ],
        ),
    ],
)
def test_every_planted_leak_is_found_and_nothing_else(kind, expected):
    assert found(kind) == expected


def test_validation_is_held_against_training_alone():
    assert found("same source", "val") == [Shared("validation", "val", "same source", "source 0", True, 2)]
    assert found("same group", "val") == []


def test_leaked_videos_carry_their_surest_reason_and_a_scene_is_none():
    assert leaked(audit(PLANTED)) == {
        "file": "same file",
        "near": "near duplicate",
        "source": "same source",
        "group": "same group",
    }
    both = manifest(
        video("a", "test", source="film", group="g", sha256="same"),
        video("b", "train", source="film", group="g", sha256="same"),
    )
    assert leaked(audit(both)) == {"a": "same file"}


def test_the_column_stands_in_the_order_of_the_sorted_test_part():
    shuffled = PLANTED.take([*range(7, 15), *range(7)])
    expected = ["", "", "same file", "same group", "near duplicate", "same source"]  # clean, far, file, group, ...
    assert leak_column(shuffled) == leak_column(PLANTED) == expected


def test_copies_are_sets_across_and_within_the_parts():
    assert audit(PLANTED).copy_sets == (
        CopySet("same file", ("file", "file too", "left alone"), ("test", "train", "other"), ("a", "a", "a")),
        CopySet("near duplicate", ("near", "near too"), ("test", "train"), ("b", "a")),
    )


def test_a_near_duplicate_of_a_file_is_one_of_all_its_copies():
    table = manifest(
        video("x", "test", fingerprint=words(1, flip=50)),
        *(video(f"copy {n}", "train", sha256="same", fingerprint=words(1)) for n in range(30)),
    )
    assert audit(table).shared == (Shared("x", "test", "near duplicate", "copy 0", True, 30),)
    (copies,) = audit(table).copy_sets
    assert copies.kind == "near duplicate"
    assert len(copies.video_ids) == 31


def test_black_videos_are_no_duplicates_and_count_as_unknown():
    table = manifest(video("x", "test", fingerprint=[0] * 9), video("y", "train", fingerprint=[0] * 9))
    result = audit(table)
    assert result.shared == result.copy_sets == ()
    assert result.known["near duplicate", "test"] == 0
    assert result.known["same file", "test"] == 1


def test_lists_alone_tell_sources_and_groups_and_say_what_they_do_not():
    records = [
        VideoRecord("x", "", 0, "a", "a_1", "test", "film"),
        VideoRecord("y", "", 0, "a", "a_1", "train", "film"),
        VideoRecord("y", "", 0, "a", "", "test", ""),
    ]
    result = audit(records)
    assert [(shared.video_id, shared.kind) for shared in result.shared] == [
        ("y", "same video"),
        ("x", "same source"),
        ("x", "same group"),
        ("x", "same scene"),
    ]
    assert result.known["same file", "test"] == result.known["near duplicate", "test"] == 0
    assert (result.known["same source", "test"], result.counts["test"]) == (1, 2)
    lines = {line[:20].strip(): line.split() for line in describe(result)}
    assert lines["same file"][2:] == ["-"] * 4
    assert lines["same source"][2:6] == ["1", "50.0%", "1", "50.0%"]


def test_a_person_reads_counts_copies_and_contradictions():
    text = "\n".join(describe(audit(PLANTED)))
    for part in (
        "Audit of 15 videos: 6 test, 6 train, 2 val, 1 other",
        "test against train and val",
        "val against train ",
        "Leak-free: 2 of 6 test videos",
        "Copies: 5 videos in 2 sets",
        "near duplicate with contradictory labels: near (b), near too (a)",
    ):
        assert part in text
    assert "in one part" not in text
    twice = manifest(*(video(name, "train", sha256="same") for name in "xyz"))
    assert "sets with several videos in one part: 1 in train" in "\n".join(describe(audit(twice)))


def test_the_table_survives_parquet(tmp_path):
    result = audit(PLANTED)
    pq.write_table(to_table(result), tmp_path / "audit.parquet")
    rows = pq.read_table(tmp_path / "audit.parquet").to_pylist()
    assert [Shared(**row) for row in rows] == list(result.shared)
    assert to_table(audit([])).num_rows == 0


def test_overlaps_of_splits():
    def split(train, test):
        return [VideoRecord(v, "", 0, "", subset=s) for s, part in (("train", train), ("test", test)) for v in part]

    result = overlaps({1: split("abc", "de"), 2: split("ade", "bc"), 3: split("abd", "cdef")})
    assert result.tests == {(1, 1): 2, (2, 2): 2, (3, 3): 4} | dict.fromkeys([(1, 2), (2, 1)], 0) | {
        (1, 3): 2,
        (3, 1): 2,
        (2, 3): 1,
        (3, 2): 1,
    }
    assert result.in_both == {1: 0, 2: 0, 3: 1}
    assert [line.split() for line in describe_overlaps(result)[1:]] == [
        ["test", "1", "2", "0", "2", "0"],
        ["test", "2", "0", "2", "1", "0"],
        ["test", "3", "2", "1", "4", "1"],
    ]


@pytest.mark.parametrize(("split", "shared", "same_class"), [(1, 138, 60), (2, 137, 60), (3, 127, 55)])
def test_official_lists_of_dark48_share_sources(reference, split, shared, same_class):
    """7.8, 7.8 and 7.2 % of 1763 test clips."""
    result = audit(read_lists(str(reference / "reference" / "annotations"), "dark48", split))
    sources = [found for found in result.shared if found.kind == "same source"]
    assert result.counts == {"train": 7052, "test": 1763}
    assert (len(sources), sum(found.same_class for found in sources)) == (shared, same_class)
    assert Counter(leaked(result).values()) == {"same source": shared}


@pytest.mark.parametrize("split", [1, 2, 3])
def test_official_lists_of_arid_share_no_group_but_those_left_out_do(reference, split):
    records = read_lists(str(reference / "reference" / "annotations"), "arid-v1", split)
    result = audit(records)
    assert leaked(result) == {}
    assert result.known["same group", "test"] == result.counts["test"] > 800
    used = [dataclasses.replace(r, subset="train") if r.subset == "other" else r for r in records]
    assert set(leaked(audit(used)).values()) == {"same group"}
    # Nearly every number of a group occurs on both sides, in different classes.
    assert sum(found.kind == "same scene" for found in result.shared) > 0.95 * result.counts["test"]


@pytest.mark.parametrize(("format", "common"), [("dark48", (356, 351, 361)), ("arid-v1", (240, 144, 220))])
def test_official_splits_are_disjoint_in_themselves_and_overlap_each_other(reference, format, common):
    lists = str(reference / "reference" / "annotations")
    result = overlaps({split: read_lists(lists, format, split) for split in (1, 2, 3)})
    assert set(result.in_both.values()) == {0}
    assert (result.tests[1, 2], result.tests[1, 3], result.tests[2, 3]) == common
