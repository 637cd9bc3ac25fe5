import pyarrow.parquet as pq

from pipelines import predict_videos


def test_a_registered_model_predicts_a_folder(cluster, trained, tiny_root, tmp_path, capsys):
    model = f"models:/{trained.model_version.split(' ')[0]}@challenger"
    out = tmp_path / "p.parquet"
    predict_videos.main(
        [model, str(tiny_root / "Left"), "--out", str(out), f"--settings.tracking-uri={trained.tracking_uri}"]
    )
    assert pq.read_table(out).num_rows == 12
    assert "Predicted 12 clips now, 12 in all; 0 videos unreadable" in capsys.readouterr().out
