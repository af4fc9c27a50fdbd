"""A coordinator learns of a node what is listed here and the sums that the methods' statements name; nothing else.

Everything that a coordinator receives in a small job of every method under every protection is recorded below its own
code, and everything that it has stored afterwards is read. A field that is not in a list here fails the test: whoever
adds one must say here, and in the methods' statements, what it tells about a node.
"""

import dataclasses
import json
import re
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from sqlalchemy import select

from fedseal.coordinator.attendance import Attendance
from fedseal.coordinator.attendance import Session as NodeSession
from fedseal.coordinator.config import CoordinatorSettings
from fedseal.coordinator.server import start_coordinator
from fedseal.local import open_party
from fedseal.methods import method_class, programme, programme_statement, stage_plan
from fedseal.protection import protection_quantities
from fedseal.protection.scalars import names_of, own_scalars
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.custody import MASKED_INSIDE, Commitment, Parcel
from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.dsse import SignedDocument
from fedseal_crypto.masking import DecodeLimits, decode_message
from fedseal_governance.datasets import load_schema
from fedseal_governance.jobs import load_job
from fedseal_governance.tables import metadata
from fedseal_governance.vocabulary import Disclosure
from tests.system import evidence
from tests.system.federation import Federation, SmallJob
from tests.system.founding import CUSTODIAN, EXAMPLES, NODES, training_methods
from tests.system.recorder import Received, Recorder, field_paths
from tests.system.test_scalars import allow_scalars

pytestmark = pytest.mark.system

KINDS = ("masking", "homomorphic", "hybrid", "scalars")
"""Protections, each with all methods that need sums only; and those that judge single nodes, under `homomorphic`."""

NOT_ON_TABLES = frozenset({"fedbn", "pfedhr", "pfedhr-individual", "recess-groups"})
"""Methods that this small job cannot run: no learner for tables suits `fedbn`, which sends by the code of `fedper`;
`pfedhr` needs public rows and a group of at least three nodes for each architecture, `recess-groups` several groups of
at least three nodes, and `pfedhr-individual` runs in simulations only. Their vectors are compared with their statements
in tests of their own."""


def methods_of(kind: str) -> tuple[str, ...]:
    """The methods of one recording; those that need single contributions are refused under every protection."""
    level = Disclosure.SCALARS if kind == "scalars" else Disclosure.SUM
    names = [name for name in training_methods() if name not in NOT_ON_TABLES]
    return tuple(name for name in names if method_class(name).statement.level is level)


MLP = "{name: tabular-mlp, settings: {hidden_width: 4, learning_rate: 0.05}}"


def jobs_of(kind: str) -> Iterator[SmallJob]:
    """One round of each training method, of those that judge more; of the usual one with the other tests' learner."""
    for method in methods_of(kind):
        if method == "fedavg":
            yield SmallJob(rounds=1, protection=kind)
            continue
        job = SmallJob(name=f"{method}-{kind}", method=method, learner=MLP, rounds=1, settings="local_epochs: 1")
        if kind == "scalars":
            rounds = 3 if method == "recess" else 2  # of which the second is a probe
            yield dataclasses.replace(job, rounds=rounds, protection="homomorphic", disclosure="SCALARS")
        else:
            yield dataclasses.replace(job, protection=kind)


ADDRESS = {"address.job", "address.stage", "address.round", "address.attempt"}
FROM_NODES = {
    "Attend": {
        *("protocol_version", "session", "identity_certificate", "software", "open_jobs"),
        *("policies", "datasets.name", "datasets.schema"),
    },
    "Report": {
        "session",
        *(f"verdict.{name}" for name in ("job", "accepted", "policy")),
        *(f"verdict.reasons.{name}" for name in ("clause", "sentence", "allowed")),
        *(f"message.{name}" for name in (*ADDRESS, "payload")),
    },
    "Contribute": {*(f"header.{name}" for name in (*ADDRESS, "session", "message", "size")), "data"},
    "Download": {"digest", "job"},
    "FetchCheckpoint": {"known_size"},
    # `log_link` is a salted hash of the state of the node's log: without the salt it tells nothing
    "Cosign": {"checkpoint", "cosignature", "log_link"},
}
"""Fields of the messages that nodes send; `payload`, `header.message` and `data` are looked into further below."""

MASKING = {
    "Advertisement": {
        *("client", "context0", "identity", "mask_key", "channel_key", "commitment"),
        *("graph_commitment", "abandoned", "signature"),
    },
    "ShareBundle": {"client", "context", "shares", "shares.member", "shares.sealed", "signature"},
    "MaskedInputHeader": {"client", "context", "digest", "signature"},
    "Confirmation": {"client", "context", "survivors", "signature"},
    "Unmasking": {
        *("client", "context", "signature"),
        *("self_mask", "self_mask.owner", "self_mask.share", "pairwise", "pairwise.owner", "pairwise.share"),
    },
}
"""Fields of the protocol's messages: keys, shares, digests and signatures. Nothing in them depends on data."""

FIGURES = {
    "statistics": {"rows", "measured_share"},
    "training": {"loss", "rows", "clipped_share"},
    "evaluation": {"patients", "auc", "auc_uncertainty", "accuracy", "calibration_error", "log_loss", "brier"},
}
INSTEAD = {"rows": "nodes"}
"""Methods that weigh every node alike count nodes instead of rows."""

MORE = {
    "lockdown": {"shortened", "kept_share", "miscounted_votes", "stray_changes"},
    "recess": {"probes", "removed", "least_trust"},
    "metavd": {"dropout_rate", "divergence"},
}
"""Further figures of the training stage, by method."""

ALWAYS = {"bytes_up_per_node"}
"""Published figures of each stage: computed from sums, or from the size of what was received."""

STORED = {
    "alembic_version": set[str](),
    "jobs": {
        *("digest", "name", "envelope", "schema", "submitted_by", "submitted_at", "state", "reason", "finished_at"),
        *("stage", "round", "attempt", "state_digest", "record"),
    },
    "job_answers": {"job", "node", "accepted", "policy", "reasons", "at"},
    "rounds": {
        *("job", "stage", "round", "attempt", "parameters", "broadcast", "roster", "log_size", "started_at"),
        *("ended_at", "state", "closed_steps", "reason", "survivors", "recovered", "figures"),
    },
    "artefacts": {"job", "kind", "digest", "size"},
}
"""Tables of the coordinator that may hold anything after a job, besides its audit log, and their columns."""

ENTRIES = {
    "job.submitted": {"name", "purpose", "dataset", "schema", "nodes", "envelope", "federation_policies"},
    "job.accepted": {"policy", "policy_envelope", "refusals", "refusals_in_all", "federation_policies"},
    "job.running": {"reason"},
    "job.finished": {"reason", "record", "model", "site_logs"},
    "round.started": {
        *("stage", "round", "attempt", "roster", "threshold", "minimum_cohort", "broadcast", "context"),
        "site_logs",
    },
    "round.completed": {"stage", "round", "attempt", "survivors", "recovered", "state"},
}
"""What the entries of the coordinator's audit log say."""

WITH_CUSTODIAN_STORED = {"job_keys": {"job", "custodian", "digest", "statement", "at"}}
WITH_CUSTODIAN_ENTRIES = {
    "key.received": {"key", "file", "parameters", "statement"},
    "round.started": {*ENTRIES["round.started"], "key"},
    "sum.requested": {"stage", "round", "attempt", "key", "request", "sum", "members"},
    "sum.opened": {"stage", "round", "attempt", "key", "request", "sum", "count", "opened", "statement"},
}
"""The same, where a custodian holds the key: digests, and what every node has signed."""

FROM_CUSTODIAN = {
    "Attend": {"protocol_version", "session", "identity_certificate", "software", "open_jobs"},
    "PublishKey": {"header.job", "header.statement", "header.size", "data"},
    "FetchCiphertext": {*ADDRESS, "member"},
    "DeliverSum": {*(f"header.{name}" for name in (*ADDRESS, "request", "statement", "size")), "data"},
}
"""What the custodian sends: a public key, and opened sums with pads or masks in them."""

WITH_SCALARS_ENTRIES = {
    "key.received": {*WITH_CUSTODIAN_ENTRIES["key.received"], "scalar_key"},
    "scalars.requested": {"stage", "round", "attempt", "request", "members"},
    "scalars.opened": {"stage", "round", "attempt", "statements"},
    "contributions.judged": {"stage", "round", "attempt", "left_out"},
}
"""The same, where the method judges single nodes: digests, and whom it left out for which reason."""

SCALARS_FROM_CUSTODIAN = {"DeliverScalars": {*ADDRESS, "statements", "roll"}}
"""Numbers about single nodes, signed, which are looked into further below, and about whom there are none."""


@dataclasses.dataclass(frozen=True, slots=True)
class Recording:
    federation: Federation
    kind: str
    jobs: dict[str, SmallJob]
    records: dict[str, bytes]
    received: tuple[Received, ...]

    def of(self, method: str) -> list[Received]:
        return [item for item in self.received if item.method == method and item.caller in NODES]

    @property
    def protection(self) -> str:
        return "homomorphic" if self.kind == "scalars" else self.kind

    @property
    def has_custodian(self) -> bool:
        return self.kind != "masking"


@pytest.fixture(scope="module", params=KINDS)
def recording(template: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Recording:
    """A small job of each method with a recording coordinator in this process, and nodes in their own."""
    federation = Federation.copied(template, tmp_path_factory.mktemp("recorder") / "federation")
    if request.param == "scalars":
        allow_scalars(federation)
    recorder, present, stopping = Recorder(), threading.Semaphore(0), threading.Event()
    serve, enter = grpc.server, Attendance.enter

    def entered(self: Attendance, session: NodeSession) -> NodeSession | None:
        previous = enter(self, session)
        present.release()
        return previous

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grpc, "server", lambda pool, options: serve(pool, interceptors=[recorder], options=options))
        patch.setattr(Attendance, "enter", entered)
        settings = CoordinatorSettings(listen=federation.address)
        running = start_coordinator(federation.party("coordinator"), settings, stopping=stopping)
        try:
            for node in NODES:
                federation.start_node(node)
            if request.param != "masking":
                federation.start_custodian()
            assert all(present.acquire(timeout=30) for _ in NODES)
            jobs, records = {}, {}
            for job in jobs_of(request.param):
                digest = federation.submit(job)
                detail = federation.wait_ended(digest)
                assert detail.summary.state == "finished", f"{job.name}: {detail.summary.reason}"
                jobs[digest], records[digest] = job, detail.job_record
                for process in federation.nodes.values():
                    process.wait_for_line(rf'"{digest[:12]}".*"job ended"')
        finally:
            federation.stop()
            running.stop()
    return Recording(federation, request.param, jobs, records, tuple(recorder.received))


def test_nodes_call_only_these_methods_with_only_these_fields(recording: Recording) -> None:
    seen: dict[str, set[str]] = {}
    for item in recording.received:
        if item.caller in NODES:
            seen.setdefault(item.method, set()).update(field_paths(item.message))
    assert set(seen) <= set(FROM_NODES)
    for method, paths in seen.items():
        assert paths <= FROM_NODES[method], f"{method}: {paths - FROM_NODES[method]}"
    assert {"Attend", "Report", "Contribute", "Download"} <= set(seen)


def test_the_custodian_calls_only_these_methods_with_only_these_fields(recording: Recording) -> None:
    seen: dict[str, set[str]] = {}
    for item in recording.received:
        if item.caller == CUSTODIAN:
            seen.setdefault(item.method, set()).update(field_paths(item.message))
    allowed = FROM_CUSTODIAN if recording.has_custodian else {}
    if recording.kind == "scalars":
        allowed = allowed | SCALARS_FROM_CUSTODIAN
    assert set(seen) == set(allowed)
    for method, paths in seen.items():
        assert paths <= allowed[method], f"{method}: {paths - allowed[method]}"


def test_numbers_about_single_nodes_are_those_that_the_statements_name(recording: Recording) -> None:
    """Of each node and round one of each name, and nothing beside; only where the method judges."""
    deliveries = [item.message for item in recording.received if item.method == "DeliverScalars"]
    assert bool(deliveries) is (recording.kind == "scalars")
    seen: dict[tuple[str, int, str], set[str]] = {}
    for delivery in deliveries:
        _, training, _ = programme(load_job(recording.jobs[delivery.address.job].to_yaml(), "job.yaml"))
        statement = training.method.statement
        named = {item.name for item in statement.quantities if item.party == "coordinator"}
        for data in delivery.statements:
            opened = own_scalars(data)
            assert opened.values.keys() == opened.errors.keys() <= named & set(names_of(training.method))
            key = (opened.job, opened.round, opened.node)
            assert seen.setdefault(key, set(opened.values)) == set(opened.values)
            assert None not in opened.values.values()
    assert len(seen) == sum(small.rounds * len(NODES) for small in recording.jobs.values() if deliveries)


def test_what_goes_before_ciphertexts_holds_only_these_fields(recording: Recording) -> None:
    headers = [item.message.header.message for item in recording.of("Contribute") if item.message.HasField("header")]
    for payload in headers if recording.has_custodian else ():
        parcel = Parcel.decode(payload)
        assert parcel.encode() == payload, "there is nothing beside what was decoded"
        assert len(parcel.pad) == (32 if recording.protection == "homomorphic" else 0)
        assert (parcel.sealed.commitments == MASKED_INSIDE) is (recording.protection == "hybrid")
        assert bool(parcel.masking) is (recording.protection == "hybrid")


def test_masking_messages_hold_only_these_fields(recording: Recording) -> None:
    if recording.protection == "homomorphic":
        payloads = [item.message.message.payload for item in recording.of("Report") if _kind(item) == "message"]
        assert payloads
        assert all(Commitment.decode(payload).encode() == payload for payload in payloads)
        return
    limits = DecodeLimits(members=len(NODES), message_bytes=1 << 20)
    payloads = [item.message.message.payload for item in recording.of("Report") if _kind(item) == "message"]
    headers = [item.message.header.message for item in recording.of("Contribute") if item.message.HasField("header")]
    payloads += [Parcel.decode(item).masking for item in headers] if recording.has_custodian else headers
    seen: dict[str, set[str]] = {}
    for payload in payloads:
        message = decode_message(payload, limits)
        assert message.encode() == payload, "there is nothing beside what was decoded"
        seen.setdefault(type(message).__name__, set()).update(_dataclass_paths(message))
    assert set(seen) == set(MASKING)
    for kind, paths in seen.items():
        assert paths <= MASKING[kind], f"{kind}: {paths - MASKING[kind]}"


def test_vectors_are_all_of_one_size_and_look_random(recording: Recording) -> None:
    """The values in them are small numbers and zeros: in the clear they would compress to a fraction.

    Numbers in a ciphertext fill 60 of 64 bits, and its unused high bits compress.
    """
    sizes: dict[tuple[str, str], set[int]] = {}
    vectors: dict[tuple[tuple[str, str], str], bytes] = {}
    stage: dict[str, tuple[str, str]] = {}
    for item in recording.of("Contribute"):
        if item.message.HasField("header"):
            address = item.message.header.address
            stage[item.caller] = (address.job, address.stage)
            sizes.setdefault(stage[item.caller], set()).add(item.message.header.size)
        else:
            key = (stage[item.caller], item.caller)
            vectors[key] = vectors.get(key, b"") + item.message.data
    assert set(sizes) == {(job, name) for job in recording.jobs for name in FIGURES}
    assert all(len(found) == 1 for found in sizes.values())
    assert len(vectors) == len(NODES) * len(sizes)
    for data in vectors.values():
        assert len(zlib.compress(data, 9)) >= (0.8 if recording.has_custodian else 1) * len(data)


def test_sums_are_those_that_the_statements_name(recording: Recording) -> None:
    schema = load_schema((EXAMPLES / "schema.yaml").read_bytes(), "schema.yaml")
    for digest, small in recording.jobs.items():
        job = load_job(small.to_yaml(), "job.yaml")
        stages = programme(job)
        named = {item.name for item in programme_statement(stages).quantities if item.party == "coordinator"}
        for stage in stages:
            own = {item.name for item in stage.method.statement.quantities if item.party == "coordinator"}
            vectors = stage.method.vectors(stage_plan(job, schema, stage))
            assert {spec.name for spec in vectors} <= own <= named, small.name
        statement = json.loads(SignedDocument.from_json(recording.records[digest]).payload)
        disclosed = " ".join(statement["predicate"]["disclosure"]["quantities"])
        assert all(name in disclosed for name in named), small.name
        for name, party, text in protection_quantities(job.protection):
            assert f"{party}: {name} - {text}" in statement["predicate"]["disclosure"]["quantities"], small.name
        assert bool(statement["predicate"]["custody"]) is recording.has_custodian


def test_no_sentence_holds_a_count_of_a_node(recording: Recording) -> None:
    texts = [
        reason.sentence
        for item in recording.of("Report")
        if _kind(item) == "verdict"
        for reason in item.message.verdict.reasons
    ]
    assert texts
    for node in NODES:
        rows = len((EXAMPLES / f"{node}.csv").read_text().splitlines()) - 1
        used = {row.records for job in recording.jobs for row in evidence.attempts(recording.federation, node, job)}
        for number in (rows, *used):
            assert not any(re.search(rf"\b{number}\b", text) for text in texts)


def test_stored_rows_hold_only_these_columns(recording: Recording) -> None:
    with open_party(recording.federation.folder / "coordinator") as party:
        for name, table in metadata.tables.items():
            if name.startswith("audit_"):
                continue
            filled = party.read(lambda session, table=table: session.execute(select(table)).first())  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            stored = STORED | (WITH_CUSTODIAN_STORED if recording.has_custodian else {})
            if name not in stored:
                assert filled is None, f"the coordinator stored something in {name}"
            else:
                assert set(table.columns.keys()) == stored[name]
        rows = party.read(lambda session: session.execute(select(metadata.tables["rounds"])).all())
    for row in rows:
        assert all(set(item) == {"node", "session", "certificate"} for item in json.loads(row.roster))
        method = recording.jobs[row.job].method
        more = MORE.get(method, set()) if row.stage == "training" else set()
        allowed = FIGURES[row.stage] | ALWAYS | more
        unweighted = {INSTEAD.get(name, name) for name in allowed} if row.stage == "training" else allowed
        figures = set(json.loads(row.figures))
        assert figures in (allowed, unweighted), (method, figures - allowed)


def test_audit_entries_say_only_this(recording: Recording) -> None:
    with open_party(recording.federation.folder / "coordinator") as party:
        entries = party.read(lambda session: tuple(evidence.log_entries(session, party)))
    allowed = ENTRIES | (WITH_CUSTODIAN_ENTRIES if recording.has_custodian else {})
    if recording.kind == "scalars":
        allowed = allowed | WITH_SCALARS_ENTRIES
    for entry in entries:
        assert entry.type in allowed, entry.type
        assert set(entry.details) <= allowed[entry.type], f"{entry.type}: {set(entry.details)}"


def test_files_are_only_artefacts(recording: Recording) -> None:
    """Nothing else that a node sent lies about: no vector, no message; only the policies that it showed."""
    folder = recording.federation.folder / "coordinator"
    with open_party(folder) as party:
        rows = party.read(lambda session: session.execute(select(metadata.tables["artefacts"])).all())
    kinds = {row.kind for row in rows}
    keys = {"public-key"} if recording.has_custodian else set()
    assert kinds == {"broadcast", "state", "statistics", "model", "job-record"} | keys
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    digests = {path.name for path in files if path.parts[0] == "artefacts"}
    shown = {bytes(policy) for item in recording.of("Attend") for policy in item.message.policies}
    documents = shown | {SignedDocument.from_json(policy).payload for policy in shown}
    made = {row.digest for row in rows}
    assert made <= digests
    signed = {
        bytes(item.message.header.statement)
        for item in recording.received
        if item.method in ("PublishKey", "DeliverSum") and item.message.HasField("header")
    }
    told = (item.message.statements for item in recording.received if item.method == "DeliverScalars")
    signed.update(bytes(statement) for statements in told for statement in statements)
    assert digests - made <= {sha256_hex(document) for document in documents | signed}
    others = {path.parts[0] for path in files if path.parts[0] != "artefacts"}
    assert others <= {"party.json", "keys", "certificates", "coordinator.yaml", "coordinator.db"} | {
        f"coordinator.db{suffix}" for suffix in ("-wal", "-shm", ".service")
    }


def _kind(item: Received) -> str | None:
    assert isinstance(item.message, pb.NodeReport)
    return item.message.WhichOneof("kind")


def _dataclass_paths(value: object, prefix: str = "") -> Iterator[str]:
    if isinstance(value, tuple):
        for item in value:
            yield from _dataclass_paths(item, prefix)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield f"{prefix}{field.name}"
            yield from _dataclass_paths(getattr(value, field.name), f"{prefix}{field.name}.")
