"""Where a record was used, asked after its consent was withdrawn: jobs, rounds, sums opened or not, proofs."""

from typing import TYPE_CHECKING

import pytest

from fedseal_crypto import merkle
from fedseal_crypto.masking import Step
from fedseal_governance.consent import Impact, impact, prove, withdraw
from fedseal_governance.consent.impact import UNREADABLE, rounds_in_words
from fedseal_governance.errors import NotFound
from fedseal_governance.participation import end_job
from fedseal_governance.runs import RoundKey
from tests.unit.node.papers import ROWS, pseudonyms
from tests.unit.node.parties import NODES
from tests.unit.node.site import REGISTER

if TYPE_CHECKING:
    from tests.unit.node.attempts import Coordinator

MINE = pseudonyms("cleveland")


def impact_of(coordinator: "Coordinator", record: str) -> Impact:
    return coordinator.site.database.read(lambda session: impact(session, REGISTER, record))


def key_of(coordinator: "Coordinator", attempt: int) -> RoundKey:
    return RoundKey(job=coordinator.job.digest, stage="statistics", round=0, attempt=attempt)


def test_what_a_record_entered_is_known_after_its_withdrawal(coordinator: "Coordinator") -> None:
    assert impact_of(coordinator, MINE[3]).uses == ()
    coordinator.attempt().finish()
    coordinator.site.act(lambda act: withdraw(act, REGISTER, MINE[3]))
    found = impact_of(coordinator, MINE[3])
    assert found.withdrawn_at == coordinator.site.clock()
    (use,) = found.uses
    assert (use.job, use.stage, use.opened, use.unopened) == (coordinator.job.digest, "statistics", (1,), ())
    assert (use.state, use.outcome, use.model) == ("accepted", "", None)
    assert impact_of(coordinator, "CLE-9999") == Impact(uses=(), withdrawn_at=None)


def test_a_vector_that_was_never_opened_is_told_apart(coordinator: "Coordinator") -> None:
    first = coordinator.attempt()
    first.reach(Step.CONFIRM)
    first.end(completed=False)
    coordinator.site.act(lambda act: withdraw(act, REGISTER, MINE[3]))
    coordinator.attempt(1, abandoned=dict.fromkeys(NODES, (first.context,))).finish()
    (gone,) = impact_of(coordinator, MINE[3]).uses
    assert (gone.opened, gone.unopened) == ((), (1,))
    (kept,) = impact_of(coordinator, MINE[4]).uses
    assert (kept.opened, kept.unopened) == ((1,), ())


def test_a_record_of_nonsense_hides_nothing(coordinator: "Coordinator") -> None:
    coordinator.attempt().finish()
    digest = coordinator.job.digest
    coordinator.site.database.run(
        "end", lambda session: end_job(session, digest, outcome="finished", record=b"no record")
    )
    (use,) = impact_of(coordinator, MINE[0]).uses
    assert (use.state, use.outcome, use.model) == ("ended", "finished", UNREADABLE)


def test_a_proof_leads_to_the_digest_in_the_log(coordinator: "Coordinator") -> None:
    coordinator.attempt().finish()
    coordinator.site.act(lambda act: withdraw(act, REGISTER, MINE[3]))
    proof = coordinator.site.database.read(lambda session: prove(session, REGISTER, MINE[3], key_of(coordinator, 0)))
    [entry] = coordinator.site.audit("round.contributed")
    assert (
        (entry.details["snapshot"], entry.details["records"]) == (proof.snapshot, proof.size) == (proof.snapshot, ROWS)
    )
    merkle.verify_inclusion(
        merkle.leaf_hash(bytes.fromhex(proof.leaf)),
        index=proof.index,
        size=proof.size,
        proof=[bytes.fromhex(step) for step in proof.path],
        expected_root=bytes.fromhex(proof.snapshot),
    )
    for record, attempt in (("CLE-9999", 0), (MINE[3], 1)):
        with pytest.raises(NotFound):
            coordinator.site.database.read(
                lambda session, r=record, a=attempt: prove(session, REGISTER, r, key_of(coordinator, a))  # type: ignore[misc]  # per loop
            )


def test_rounds_are_joined_into_stretches() -> None:
    assert rounds_in_words((1, 2, 3, 5, 7, 8)) == "1-3, 5, 7-8"
    assert rounds_in_words(()) == ""
