"""From challenger to champion: the gate, the alias, the ledger, and the way back.

The entry in the ledger decides, and the alias follows it. A crash before the entry leaves the old champion; one
between entry and alias leaves it too, until the next call, which first lets the alias follow. Two promotions at the
same moment want the same number in the ledger: one gets it, the other is told.
"""

import getpass
import socket
from datetime import datetime, timezone

from components.judgement import Verdict, judge
from components.promotion_ledger import Entry, Ledger
from components.settings import Settings
from components.storage import Folder
from components.versions import CHAMPION, Version, Versions
from dtcm.errors import BadInput
from dtcm.gate import Limits

LEDGER_TAG = "promotion_ledger"
"""Tag of a registered model: where its ledger is."""
PROMOTED, REFUSED, ROLLED_BACK = "promoted", "refused", "rolled back"


def promote(name: str, which: str, limits: Limits, settings: Settings, dry_run: bool = False) -> Verdict:
    """Compare a version with the champion and, if it passes, make it champion. The ledger keeps either outcome.

    Args:
        name: the registered model.
        which: number or alias of the challenger.
        limits: what it has to keep to.
        settings: where MLflow and the storage are, and how many workers test.
        dry_run: change nothing, in the ledger neither.

    Raises BadInput for a version that there is not, that is champion already, that cannot be compared or may hold a
    pickle; and where another promotion came first.
    """
    versions = Versions(settings.mlflow_uri, name)
    ledger = open_ledger(versions, settings, dry_run)
    seen = ledger.entries() if dry_run else settle(ledger, versions)
    challenger, champion = _find(versions, which), _champion(versions, seen)
    if champion and challenger.number == champion.number:
        raise BadInput(f"Version {challenger.number} of {name} is the champion already.")
    verdict = judge(versions, challenger, champion, limits, settings)
    if dry_run:
        return verdict
    entry = _entry(verdict, PROMOTED if verdict.passed else REFUSED)
    if verdict.passed:
        decide(ledger, versions, len(seen), entry)
    else:
        while not ledger.append(len(ledger.entries()), entry):
            pass  # an entry that changes nothing may stand anywhere
    return verdict


def roll_back(name: str, settings: Settings, dry_run: bool = False) -> tuple[str, str]:
    """Make the champion before the present one champion again. Returns their numbers: present, restored."""
    versions = Versions(settings.mlflow_uri, name)
    ledger = open_ledger(versions, settings, dry_run)
    seen = ledger.entries() if dry_run else settle(ledger, versions)
    past = champions(seen)
    if len(past) < 2:
        raise BadInput(f"{name} has no champion before the present one, so there is nothing to go back to.")
    present, before = past[-1], past[-2]
    _find(versions, before)
    if not dry_run:
        entry = {**_who_and_when(), "kind": ROLLED_BACK, "model": name, "champion": before, "champion_before": present}
        decide(ledger, versions, len(seen), entry)
    return present, before


def open_ledger(versions: Versions, settings: Settings, read_only: bool = False) -> Ledger:
    """The model's ledger, which its first promotion put into the storage of that time."""
    own = (Folder(settings.storage_uri) / "promotions" / versions.name).uri
    return Ledger(Folder(versions.note(LEDGER_TAG, "" if read_only else own) or own))


def decide(ledger: Ledger, versions: Versions, seen: int, entry: Entry) -> None:
    """Write an entry that changes the champion, and let the alias follow. Raises BadInput if another came first."""
    if not ledger.append(seen, entry):
        last = ledger.entries()[-1]
        raise BadInput(
            f"Another was faster: {last['who']} wrote {last['kind']!r} into the ledger while this was compared, and "
            f"version {last.get('champion') or 'none'} is champion. Nothing was changed; run it again."
        )
    settle(ledger, versions)


def settle(ledger: Ledger, versions: Versions) -> list[Entry]:
    """Let the alias follow the ledger, as a crash may have kept it from doing. Returns the entries.

    Raises BadInput if the alias was moved by other means.
    """
    while True:
        entries, alias = ledger.entries(), versions.find(CHAMPION)
        changes, now = [entry for entry in entries if entry["kind"] != REFUSED], alias.number if alias else ""
        by_hand = False
        if changes and now != changes[-1]["champion"]:
            by_hand = now not in {change[key] for change in changes for key in ("champion", "champion_before")}
            if not by_hand:
                versions.set_champion(changes[-1]["champion"])
        # Whoever wrote an entry meanwhile may have moved the alias before this did.
        if len(ledger.entries()) == len(entries):
            break
    if by_hand:
        raise BadInput(
            f"The alias {CHAMPION} of {versions.name} was moved by hand, to version {now or 'none'}; the ledger says "
            f"version {changes[-1]['champion']}. Set it back in MLflow, then promote."
        )
    return entries


def champions(entries: list[Entry]) -> list[str]:
    """The champions that can be gone back to, the present one last."""
    past: list[str] = []
    for entry in entries:
        if entry["kind"] == ROLLED_BACK:
            past.pop()
        elif entry["kind"] == PROMOTED:
            past += [entry["champion_before"]] if not past and entry["champion_before"] else []
            past.append(entry["champion"])
    return past


def _find(versions: Versions, which: str) -> Version:
    version = versions.find(which)
    if version is None:
        raise BadInput(f"There is no version {which!r} of {versions.name}; a finished run registers one.")
    return version


def _champion(versions: Versions, entries: list[Entry]) -> Version | None:
    past = champions(entries)
    return _find(versions, past[-1]) if past else versions.find(CHAMPION)


def _entry(verdict: Verdict, kind: str) -> Entry:
    return {
        **_who_and_when(),
        "kind": kind,
        "model": verdict.model,
        "challenger": verdict.challenger,
        "champion": verdict.challenger if kind == PROMOTED else verdict.champion,
        "champion_before": verdict.champion,
        "checks": [check._asdict() for check in verdict.checks],
        "figures": verdict.figures,
    }


def _who_and_when() -> Entry:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"who": f"{getpass.getuser()}@{socket.gethostname()}", "when": now}
