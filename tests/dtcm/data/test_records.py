"""Records and manifests keep what they are given."""

import dataclasses

import pyarrow.parquet as pq
import pytest

from dtcm.data.records import FACTS, MANIFEST, QUARANTINE, RECORD, VideoRecord, to_records, to_rows, to_table

RECORDS = [
    VideoRecord("Walk/Walk_1_2.mp4", "/d/Walk/Walk_1_2.mp4", 9, "Walk", "Walk_1", "test", "yt-abc"),
    VideoRecord("Drink/a.mp4", "/d/Drink/a.mp4", 0, "Drink"),
]
FOUND = {
    "bytes": 1000,
    "modified_s": 1.5,
    "sha256": "ab" * 32,
    "width_px": 320,
    "height_px": 240,
    "fps": 30.0,
    "frames": 64,
    "duration_s": 2.13,
    "codec": "h264",
    "rotation_deg": 0,
    "dv": -0.9,
    "mean_luma": 11.2,
    "is_dark": True,
    "dv_released": -0.91,
    "mean_luma_released": 10.1,
    "is_dark_released": True,
    "fingerprint": [0, 2**64 - 1],
}


def test_the_schema_holds_every_field_of_a_record():
    assert RECORD.names == [field.name for field in dataclasses.fields(VideoRecord)]
    assert MANIFEST.names == RECORD.names + FACTS.names
    assert FACTS.names == list(FOUND)


def test_records_come_back_from_a_stored_manifest_sorted(tmp_path):
    table = to_table(row | FOUND for row in to_rows(RECORDS))
    pq.write_table(table, tmp_path / "manifest.parquet")
    again = pq.read_table(tmp_path / "manifest.parquet")
    assert again.schema.equals(MANIFEST)
    assert to_records(again) == [RECORDS[1], RECORDS[0]]
    assert again.column("mean_luma").to_pylist() == [11.2, 11.2]
    assert again.column("fingerprint").to_pylist() == [[0, 2**64 - 1]] * 2


def test_a_row_may_hold_more_but_not_less():
    row = to_rows(RECORDS)[0]
    found = {"kind": "empty", "reason": "the file is empty"}
    assert to_table([row | found | {"frame": 3}], QUARANTINE).to_pylist() == [
        {"video_id": row["video_id"], "path": row["path"], **found}
    ]
    with pytest.raises(KeyError, match="bytes"):
        to_table([row])


def test_a_missing_value_is_refused():
    with pytest.raises(ValueError, match="sha256"):
        to_table([to_rows(RECORDS)[0] | FOUND | {"sha256": None}])


def test_no_rows_make_an_empty_table():
    assert to_table([], QUARANTINE).schema.equals(QUARANTINE)
    assert to_records(to_table([])) == []
