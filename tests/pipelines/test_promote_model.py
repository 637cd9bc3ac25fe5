import pytest

from components.judgement import Verdict
from dtcm.gate import Check, Limits
from pipelines import promote_model


def verdict(passed):
    return Verdict("night", "7", "5", (Check("better", passed, "p = 0.3; wanted: p below 0.05"),), {})


def test_a_refusal_says_why_and_ends_with_status_1(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(promote_model, "promote", lambda *arguments: asked.append(arguments) or verdict(False))
    with pytest.raises(SystemExit) as end:
        promote_model.main(["night", "--version", "7", "--limits.p", "0.1"])
    assert end.value.code == 1
    assert asked[0][:3] == ("night", "7", Limits(p=0.1))
    said = capsys.readouterr().out
    assert "FAILED  better: p = 0.3" in said
    assert "Version 7 is refused." in said


def test_a_dry_run_says_what_would_be(monkeypatch, capsys):
    monkeypatch.setattr(promote_model, "promote", lambda *_: verdict(True))
    monkeypatch.setattr(promote_model, "roll_back", lambda *_: ("7", "5"))
    promote_model.main(["night", "--dry-run"])
    promote_model.main(["night", "--dry-run", "--rollback"])
    said = capsys.readouterr().out
    assert "Version 7 would be champion." in said
    assert "Version 5 of night would be champion again, in place of 7." in said
