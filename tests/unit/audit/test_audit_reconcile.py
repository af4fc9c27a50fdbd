"""Two logs side by side: honest ones agree, and whoever rewrites one is contradicted by the other."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from fedseal_crypto.canonical import canonical_json
from fedseal_crypto.digests import sha256_hex
from fedseal_governance.audit import AuditError, LogLink, ReconcileRefused, link_now, reconcile
from fedseal_governance.audit.links import COSIGNED
from fedseal_governance.audit.reconcile import Kind, Reconciliation

if TYPE_CHECKING:
    from tests.unit.audit.conftest import Party

JOB = "job/" + "73" * 32
ROSTER = ["cleveland", "hungary", "switzerland"]
SALTS = [bytes([number]) * 16 for number in range(9)]
MakeParty = Callable[[str], "Party"]


def say(party: "Party", kind: str, actor: str = "", subject: str = JOB, **details: object) -> None:
    def work(session: Session) -> None:
        party.log.append(
            session, time=party.now, type=kind, actor=actor or party.log.origin, subject=subject, details=details
        )

    party.database.run(kind, work)


def look(node: "Party", central: "Party", number: int) -> str:
    """The node cosigns the coordinator's log as it is; returns the commitment to its own."""
    note = central.checkpoint()

    def work(session: Session) -> str:
        seen = node.witness.last_seen(session, central.log.origin)
        old, size = 0 if seen is None else seen.checkpoint.size, int(note.split("\n")[1])
        proof = central.database.read(lambda other: central.log.consistency(other, old, size))
        node.witness.check_and_cosign(session, note, central.verifier, proof=proof, now=node.now)
        seen = node.witness.last_seen(session, central.log.origin)
        assert seen is not None
        link = link_now(session, node.log, salt=SALTS[number])
        node.log.append(
            session,
            time=node.now,
            type=COSIGNED,
            actor=f"node/{node.name}",
            subject=central.log.origin,
            details={
                "size": seen.checkpoint.size,
                "root": seen.checkpoint.root.hex(),
                "own_log": link.to_details(),
            },
        )
        return link.commitment

    return node.database.run("look", work)


def play(central: "Party", nodes: list["Party"], rounds: int = 2, *, lie: dict[str, Any] | None = None) -> None:
    """A whole job, as the parties write it down; `lie` replaces details of the coordinator's entries by type."""
    told = lie or {}
    links: dict[str, str] = {}
    say(central, "job.submitted", "person/ada", nodes=ROSTER, name="heart")
    for node in nodes:
        say(node, "job.accepted", "person/ada", policy="aa" * 32)
        say(central, "job.accepted", f"node/{node.name}", policy="aa" * 32)
    for number in range(rounds):
        where: dict[str, Any] = {"stage": "training", "round": number, "attempt": 0}
        about = {**where, "broadcast": f"{number:064x}", "context": "cc" * 32, "roster": ROSTER, "threshold": 2}
        say(central, "round.started", **{**about, **told.get("round.started", {})}, site_logs=dict(links))
        for node in nodes:
            say(node, "round.entered", f"node/{node.name}", **about)
            say(node, "round.contributed", f"node/{node.name}", **where, records=100)
            say(node, "round.unmasked", f"node/{node.name}", **where, survivors=ROSTER)
        say(central, "round.completed", **{**where, "survivors": ROSTER, **told.get("round.completed", {})})
        for node in nodes:
            links[node.name] = look(node, central, number)
    say(central, "job.finished", record=told.get("record", "ee" * 32), site_logs=dict(links))
    for node in nodes:
        say(node, "job.ended", central.log.origin, record="ee" * 32, outcome="finished")
        look(node, central, rounds)


def compared(first: "Party", second: "Party", folder: Path, name: str = "") -> Reconciliation:
    return reconcile(first.export(folder / f"{name}{first.name}.zip"), second.export(folder / f"{name}{second.name}"))


def test_honest_logs_agree_in_both_orders_and_vouch_for_each_other(make_party: MakeParty, tmp_path: Path) -> None:
    central, cleveland, hungary = make_party("central"), make_party("cleveland"), make_party("hungary")
    play(central, [cleveland, hungary])
    result = compared(central, cleveland, tmp_path)
    assert (result.findings, result.contradictions) == ((), 0)
    assert result.linked == (result.first.size, result.second.size - 3)  # its end of job was not linked any more
    swapped = reconcile(tmp_path / "cleveland", tmp_path / "central.zip")
    assert (swapped.agreed, swapped.findings, swapped.linked) == (result.agreed, (), result.linked[::-1])
    between = compared(cleveland, hungary, tmp_path, "between-")
    assert (between.findings, between.agreed) == ((), 5)


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        ({"round.started": {"broadcast": "ff" * 32}}, "broadcast is ffffffffffff"),
        ({"round.started": {"roster": ["cleveland"]}}, "roster is cleveland in the one"),
        ({"round.started": {"threshold": 3}}, "threshold is 3 in the one and 2"),
        ({"round.completed": {"survivors": ["cleveland"]}}, "survivors is cleveland in the one"),
        ({"record": "dd" * 32}, "record is dddddddddddd"),
        ({"round.started": {"roster": ["hungary"]}}, "central would have written it down before"),
    ],
)
def test_a_coordinator_that_says_otherwise_is_contradicted(
    lie: dict[str, Any], says: str, make_party: MakeParty, tmp_path: Path
) -> None:
    central, cleveland = make_party("central"), make_party("cleveland")
    play(central, [cleveland], lie=lie)
    result = compared(central, cleveland, tmp_path)
    assert result.contradictions
    assert says in " ".join(item.sentence for item in result.findings if item.kind is Kind.CONTRADICTION)


def test_a_contribution_that_a_node_never_made_is_a_contradiction(make_party: MakeParty, tmp_path: Path) -> None:
    central, cleveland = make_party("central"), make_party("cleveland")
    play(central, [])
    cleveland.grow(1)
    result = compared(central, cleveland, tmp_path)
    kinds = {item.sentence.split(";")[0]: item.kind for item in result.findings}
    assert kinds["central says the sum of training round 1 of job 737373737373 holds a contribution of cleveland"] is (
        Kind.CONTRADICTION
    )
    assert kinds["central says training round 1 of job 737373737373 began with cleveland"] is Kind.MISSING


def test_what_a_lost_message_explains_is_no_contradiction(make_party: MakeParty, tmp_path: Path) -> None:
    central, cleveland = make_party("central"), make_party("cleveland")
    play(central, [cleveland], rounds=1)
    where: dict[str, Any] = {"stage": "training", "round": 1, "attempt": 0}
    about = {**where, "broadcast": "11" * 32, "context": "cc" * 32, "roster": ROSTER, "threshold": 2}
    say(central, "round.started", **about)
    say(cleveland, "round.refused", "node/cleveland", **where, code="RefusalError")
    result = compared(central, cleveland, tmp_path)
    assert [item.kind for item in result.findings] == [Kind.MISSING, Kind.MISSING]
    assert "may have been lost" in result.findings[0].sentence


def test_a_node_that_rewrites_its_past_cannot_open_the_old_commitments(make_party: MakeParty, tmp_path: Path) -> None:
    central, cleveland, other = make_party("central"), make_party("cleveland"), make_party("rewritten")
    other.name, other.key, other.log, other.witness = (
        cleveland.name,
        cleveland.key,
        cleveland.log,
        cleveland.witness,
    )
    say(cleveland, "consent.withdrawn", "node/cleveland", consents=1)
    say(other, "consent.recorded", "node/cleveland", consents=1)
    play(central, [cleveland])
    honest = compared(central, cleveland, tmp_path)
    assert honest.contradictions == 0
    shadow = make_party("shadow")  # the same history for the rewritten log, which the coordinator never saw
    shadow.key, shadow.log = central.key, central.log
    play(shadow, [other])
    result = compared(central, other, tmp_path, "rewritten-")
    sentences = [item.sentence for item in result.findings if item.kind is Kind.CONTRADICTION]
    assert any("recorded a commitment to the state of cleveland's log" in text for text in sentences)


def test_a_coordinator_that_rewrites_its_past_has_other_roots_than_were_cosigned(
    make_party: MakeParty, tmp_path: Path
) -> None:
    central, cleveland, forged = make_party("central"), make_party("cleveland"), make_party("forged")
    play(central, [cleveland])
    forged.key, forged.log = central.key, central.log
    cleveland_again = make_party("again")
    cleveland_again.name, cleveland_again.log = cleveland.name, cleveland.log
    cleveland_again.witness = cleveland.witness
    say(forged, "job.refused", "person/eve", reason="never happened")
    play(forged, [cleveland_again])
    result = compared(forged, cleveland, tmp_path)
    assert any("they were rewritten" in item.sentence for item in result.findings)
    assert result.contradictions


def test_many_commitments_are_a_document_that_the_entry_names(make_party: MakeParty, tmp_path: Path) -> None:
    central, cleveland = make_party("central"), make_party("cleveland")
    say(central, "job.submitted", "person/ada", nodes=ROSTER, name="heart")
    say(cleveland, "job.accepted", "person/ada", policy="aa" * 32)
    say(central, "job.accepted", "node/cleveland", policy="aa" * 32)
    document = canonical_json({"cleveland": look(cleveland, central, 0), "hungary": "00" * 32})
    say(central, "job.finished", record="ee" * 32, site_logs=sha256_hex(document))
    say(cleveland, "job.ended", central.log.origin, record="ee" * 32, outcome="finished")
    second = cleveland.export(tmp_path / "cleveland")
    result = reconcile(central.export(tmp_path / "with", {sha256_hex(document): document}), second)
    assert (result.findings, result.linked[1]) == ((), 1)
    without = reconcile(central.export(tmp_path / "without"), second)
    assert (without.findings, without.linked[1]) == ((), None)


def test_an_older_bundle_is_not_called_a_lie(make_party: MakeParty, tmp_path: Path) -> None:
    central, cleveland = make_party("central"), make_party("cleveland")
    play(central, [cleveland], rounds=1)
    old = central.export(tmp_path / "old")
    central.now = cleveland.now = central.now.replace(hour=11)
    play(central, [cleveland], rounds=1)
    result = reconcile(old, cleveland.export(tmp_path / "new"))
    assert any("it is older, or entries were removed" in item.sentence for item in result.findings)


def test_only_logs_of_one_federation_can_be_compared(make_party: MakeParty, tmp_path: Path) -> None:
    central = make_party("central")
    central.grow(1)
    bundle = central.export(tmp_path / "a")
    with pytest.raises(ReconcileRefused, match="two parties of one"):
        reconcile(bundle, bundle)
    (bundle / "entries.jsonl").write_bytes(b"")
    with pytest.raises(AuditError):
        reconcile(bundle, bundle)


@given(details=st.dictionaries(st.sampled_from(["size", "root", "salt"]), st.integers() | st.text(max_size=70)))
def test_a_link_is_read_back_or_is_none(details: dict[str, object]) -> None:
    link = LogLink.from_details("fedseal/hearts/x", details)
    assert link is None or link.to_details() == details
