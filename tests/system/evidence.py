"""What must be true of every party's records after anything that can happen to a federation."""

import json
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from fedseal.evidence import documents_of
from fedseal.learning import read_model
from fedseal.local import LocalParty, open_party
from fedseal_crypto.notes import log_origin
from fedseal_governance import participation, runs
from fedseal_governance.audit import AuditLog, Entry, reconcile, verify_bundle
from fedseal_governance.participation import AttemptRow, AttemptState, NodeJobState
from fedseal_governance.runs import MessageRow, RoundRow, RoundState
from tests.system.federation import Federation
from tests.system.founding import CUSTODIAN, NODES, PASSPHRASE, utc_now

RoundNumber = tuple[str, int]
"""Stage and round, from 0."""

_RELEASED = (AttemptState.UNMASK_RELEASED, AttemptState.COMPLETED)


def assert_sound(federation: Federation, job: str, folder: Path) -> None:
    """Check every log, every round and every node's part in them; ``folder`` takes the exported bundles."""
    assert_logs_verify(federation, folder)
    completed = assert_rounds_completed_once(federation, job)
    for node in NODES:
        assert_answered_once(federation, node, job, completed)
    federation.assert_no_traceback()


def assert_finished(federation: Federation, job: str, folder: Path) -> None:
    """``assert_sound``, and the job finished with all its rounds, a whole model and nothing left lying about."""
    detail = federation.detail(job)
    assert detail.summary.state == "finished", detail.summary.reason
    assert detail.summary.rounds_done == detail.summary.rounds_planned
    assert_sound(federation, job, folder)
    assert_model_whole(federation, job, folder)
    coordinator = federation.folder / "coordinator"
    for spool in (coordinator / "spool" / job, *(coordinator / "spool" / "incoming").iterdir()):
        assert not spool.exists(), f"{spool} was left behind"


def assert_logs_verify(federation: Federation, folder: Path) -> None:
    """Every log, exported as for an auditor, verifies without its database; none contradicts the coordinator's."""
    for name in ("authority", "coordinator", *NODES, CUSTODIAN):
        bundle = folder / f"bundle-{name}"
        shutil.rmtree(bundle, ignore_errors=True)
        with open_party(federation.folder / name) as party:
            export_log(party, bundle)
        verified = verify_bundle(bundle)
        assert verified.size > 0
    for node in federation.nodes:  # a hostile node that a test plays itself keeps no log, and is contradicted
        compared = reconcile(folder / "bundle-coordinator", folder / f"bundle-{node}")
        assert not compared.contradictions, compared.findings


def export_log(party: LocalParty, target: Path) -> None:
    """A bundle of everything that the party's log holds now."""
    folder = party.folder
    key = folder.identity_key(PASSPHRASE if folder.needs_passphrase() else None)
    log = AuditLog(log_origin(folder.federation, folder.name), key)
    party.database.run("audit.checkpoint", lambda session: log.checkpoint(session, utc_now()))
    documents = party.read(lambda session: documents_of(session, log, party.folder.path))
    party.read(lambda session: log.export(session, target, documents))


def assert_rounds_completed_once(federation: Federation, job: str) -> dict[RoundNumber, RoundRow]:
    """No round number is completed twice, by the rows or by the log; the completed rounds by number."""

    def work(session: Session) -> tuple[list[RoundRow], list[RoundNumber], int]:
        rows = list(runs.rounds(session, job))
        noted = [
            (str(entry.details["stage"]), int(str(entry.details["round"])))
            for entry in log_entries(session, party)
            if entry.type == "round.completed" and entry.subject == f"job/{job}"
        ]
        messages = session.scalars(select(MessageRow).where(MessageRow.job == job)).all()
        kept = {(row.stage, row.round, row.attempt) for row in rows if row.state is not RoundState.OPEN}
        stale = [item for item in messages if (item.stage, item.round, item.attempt) in kept]
        return rows, noted, len(stale)

    with open_party(federation.folder / "coordinator") as party:
        rows, noted, stale = party.read(work)
    completed = [row for row in rows if row.state is RoundState.COMPLETED]
    numbers = [(row.stage, row.round) for row in completed]
    _assert_unique(numbers, "completed")
    assert sorted(noted) == sorted(numbers)
    assert stale == 0, f"{stale} masking messages of ended attempts were kept"
    for row in completed:
        assert len(json.loads(row.survivors)) >= 3
    return {(row.stage, row.round): row for row in completed}


def assert_answered_once(federation: Federation, node: str, job: str, completed: dict[RoundNumber, RoundRow]) -> None:
    """A node sent at most one vector and one unmasking an attempt, and opened at most one attempt of a round."""

    def work(session: Session) -> tuple[tuple[AttemptRow, ...], dict[str, list[tuple[object, ...]]]]:
        acts: dict[str, list[tuple[object, ...]]] = {}
        for entry in log_entries(session, party):
            if entry.subject == f"job/{job}" and entry.type.startswith("round."):
                number = tuple(entry.details.get(name) for name in ("stage", "round", "attempt"))
                acts.setdefault(entry.type, []).append(number)
        return participation.attempts_of(session, job), acts

    with open_party(federation.folder / node) as party:
        rows, acts = party.read(work)
    for kind in ("round.entered", "round.contributed", "round.unmasked"):
        _assert_unique(acts.get(kind, []), f"{node} {kind}")
    _assert_unique([row.context for row in rows], f"{node} contexts")
    released = [row for row in rows if row.state in _RELEASED]
    _assert_unique([(row.stage, row.round) for row in released], f"{node} opened")
    for row in released:
        assert len(json.loads(row.survivors)) >= 3
        round_row = completed.get((row.stage, row.round))
        if row.state is AttemptState.COMPLETED:
            assert round_row is not None
        if round_row is not None and round_row.attempt == row.attempt:
            assert json.loads(row.survivors) == json.loads(round_row.survivors)


def attempts(federation: Federation, node: str, job: str) -> tuple[AttemptRow, ...]:
    """The node's part in every attempt of the job, in order."""
    with open_party(federation.folder / node) as party:
        return party.read(lambda session: participation.attempts_of(session, job))


def node_job_state(federation: Federation, node: str, job: str) -> NodeJobState | None:
    """What the node believes of the job."""
    with open_party(federation.folder / node) as party:
        row = party.read(lambda session: session.get(participation.NodeJobRow, job))
    return None if row is None else row.state


def assert_model_whole(federation: Federation, job: str, folder: Path) -> None:
    """The model can be fetched and read, with the learner's shapes and finite numbers."""
    with federation.client() as client:
        digests = [item.digest for item in client.show_job(job).artefacts if item.kind == "model"]
        assert len(digests) == 1
        target = folder / "model.safetensors"
        client.download(job, digests[0], target)
    model = read_model(target.read_bytes())
    width = model.parameters["linear.weight"].shape[1]
    assert {name: value.shape for name, value in model.parameters.items()} == {
        "linear.weight": (1, width),
        "linear.bias": (1,),
    }
    assert width > 4


def log_entries(session: Session, party: LocalParty) -> Iterable[Entry]:
    return party.log().entries(session)


def _assert_unique(values: Iterable[object], what: str) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    assert not twice, f"{what} more than once: {twice}"
