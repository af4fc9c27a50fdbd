"""The worked example of an audit bundle, made by the code that writes real ones, and the fields of a job record."""

import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from blocks.markdown import code, fenced, table

from fedseal_crypto.identity import FederationName, IdentityKey, PartyName
from fedseal_crypto.notes import NoteVerifier, log_origin
from fedseal_crypto.secret import SecretBytes
from fedseal_governance.audit import AuditLog, Witness
from fedseal_governance.database import Database
from fedseal_governance.records import JobRecord
from fedseal_migrations import upgrade

_START = datetime(2026, 3, 1, 8, 30, 0, 123000, tzinfo=UTC)
_MEMBERS = ("entries.jsonl", "leaves", "checkpoint", "keys.txt")

RECORD: Mapping[str, str] = {
    "name": "the job's name",
    "job": "SHA-256 of the job file",
    "envelope": "SHA-256 of the signed job file",
    "submitted_by": "the data scientist",
    "submitted_at": "time",
    "ended_at": "time; the signature is judged at this time",
    "state": "`finished`, `failed`, `stopped` or `refused`",
    "reason": "why it did not finish; else empty",
    "kind": "`training` or `statistics`",
    "purpose": "Data Use Ontology code",
    "dataset": "name of the dataset",
    "schema": "SHA-256 of the schema file that all nodes registered",
    "method": "name of the method",
    "learner": "name of the learner, or empty",
    "learner_digest": "digest of the learner's code at the coordinator, or empty",
    "protection": "such as `masking`",
    "disclosure": "level, paragraph and quantities of the disclosure statements of all stages",
    "privacy": "mechanism, and a sentence about what it does not promise",
    "answers": "for each node: accepted or not, SHA-256 of its policy file, the clauses that refused",
    "rounds": "for each attempt: stage, round, attempt, state, roster, size of the cohort, nodes missing from the sum, "
    "threshold, minimum cohort, SHA-256 of the broadcast, times, reason, published figures",
    "federation_policies": "SHA-256 of each policy of the federation that the job was submitted under",
    "records_used": "rows over the whole cohort, where a sum of them was published",
    "custody": "where a custodian held the key: its name, SHA-256 of the public key and of its signed statement",
    "software": "versions at the coordinator",
    "federation": "name of the federation",
    "log_origin": "origin of the coordinator's audit log",
    "log_position": "entries in that log before the one that names this record",
}


def _record() -> str:
    names = [field.alias or name for name, field in JobRecord.model_fields.items()]
    missing = set(names) ^ RECORD.keys()
    if missing:
        raise SystemExit(f"docs/blocks/audit.py: describe the job record's fields {', '.join(sorted(missing))}")
    return table(("field", "content"), [(code(name), RECORD[name]) for name in names])


def _key(number: int) -> IdentityKey:
    return IdentityKey.from_seed(SecretBytes(bytes([number]) * 32))


def example(folder: Path) -> Path:
    """Write the example's bundle below ``folder``."""
    federation = FederationName("example")
    log = AuditLog(log_origin(federation, PartyName("coordinator")), _key(1))
    witness = Witness(log_origin(federation, PartyName("cleveland")), _key(2))
    database = Database(f"sqlite:///{folder / 'log.db'}")
    try:
        upgrade(database.engine)
        with database.transaction("example") as session:
            log.append(
                session,
                time=_START,
                type="job.submitted",
                actor="person/ada",
                subject="job/" + "00" * 32,
                details={"name": "heart-risk", "nodes": ["cleveland", "hungary", "switzerland"]},
            )
            log.append(
                session,
                time=_START + timedelta(seconds=2),
                type="job.accepted",
                actor="node/cleveland",
                subject="job/" + "00" * 32,
                details={"policy": "11" * 32, "refusals": []},
            )
        with database.transaction("sign") as session:
            moment = _START + timedelta(minutes=1)
            note = log.checkpoint(session, moment)
            key = NoteVerifier(name=log.origin, public=_key(1).public)
            line = witness.check_and_cosign(session, note, key, proof=(), now=moment)
            log.add_cosignature(session, size=2, line=line, witness=witness.verifier, now=moment)
        bundle = folder / "bundle"
        database.read(lambda session: log.export(session, bundle, {}))
    finally:
        database.close()
    return bundle


def _example() -> str:
    with tempfile.TemporaryDirectory() as folder:
        bundle = example(Path(folder))
        parts = [f"{code(name)}:\n\n{fenced((bundle / name).read_text(encoding='utf-8'))}" for name in _MEMBERS]
    return "\n\n".join(parts)


BLOCKS: Mapping[str, Callable[[], str]] = {"job-record": _record, "audit-example": _example}
