"""Round addresses off the wire, text that others wrote, files named by digest, and logs that keep secrets."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from fedseal import logs
from fedseal.artefacts import ArtefactFolder
from fedseal.errors import PeerFault, SetupError
from fedseal.foreign import fitted, fitted_all, hex_lines
from fedseal.rounds import MOST, RoundAddress
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.digests import Digest, DigestInvalid, sha256_hex
from fedseal_crypto.secret import SecretBytes
from fedseal_governance.audit.entries import MAX_TEXT, Entry
from tests.unit.node.parties import NOW

JOB = "ab" * 32
Lines = Callable[[], list[dict[str, object]]]
QUICK = settings(max_examples=80, deadline=None, derandomize=True)


# --- addresses ----------------------------------------------------------------------------------------


def test_an_address_there_and_back() -> None:
    address = RoundAddress(Digest(JOB), "training", 3, MOST)
    assert RoundAddress.from_wire(address.to_wire()) == address
    assert str(RoundAddress(Digest(JOB), "training", 3, 0)) == "job abababababab, training round 4"
    assert str(RoundAddress(Digest(JOB), "training", 3, 1)) == "job abababababab, training round 4, attempt 2"


@pytest.mark.parametrize("stage", ["", "x" * 65, "a\nb", "a\x00b", "zwölf"])
def test_a_stage_that_cannot_be_one(stage: str) -> None:
    with pytest.raises(PeerFault, match="no stage"):
        RoundAddress.from_wire(pb.RoundAddress(job=JOB, stage=stage))


@pytest.mark.parametrize("field", ["round", "attempt"])
def test_a_number_that_no_database_holds(field: str) -> None:
    with pytest.raises(PeerFault, match="that no job can reach"):
        RoundAddress.from_wire(pb.RoundAddress(job=JOB, stage="training", **{field: MOST + 1}))


@pytest.mark.parametrize("job", ["", "x", JOB.upper(), JOB + "0", f"../{JOB}"])
def test_a_job_that_is_no_digest(job: str) -> None:
    with pytest.raises(DigestInvalid):
        RoundAddress.from_wire(pb.RoundAddress(job=job, stage="training"))


# --- text that others wrote ---------------------------------------------------------------------------


@given(text=st.text(max_size=3_000) | st.text("ABCxyz019+/=_-", max_size=3_000), limit=st.integers(1, MAX_TEXT))
@QUICK
def test_fitted_text_fits_an_audit_entry(text: str, limit: int) -> None:
    shown = fitted(text, limit=limit)
    assert len(shown) <= limit
    assert shown.isprintable()
    names = {"log": "fedseal/hearts/a", "type": "round.refused", "actor": "node/a", "subject": "job/b"}
    assert Entry(seq=0, time=NOW, details={"s": shown}, **names).to_bytes()


def test_ordinary_sentences_stay_as_they_are() -> None:
    sentence = "The data may be used for health research (DUO:0000006), but the job asks for profit; ask the officers."
    assert fitted(sentence) == sentence
    assert fitted("") == ""
    assert fitted(JOB) == JOB


@given(data=st.binary(max_size=400))
@QUICK
def test_evidence_in_lines_is_complete(data: bytes) -> None:
    lines = hex_lines(data)
    assert bytes.fromhex("".join(lines)) == data
    assert all(len(line) <= 128 for line in lines)


def test_details_are_fitted_wherever_text_is() -> None:
    long = "A" * 300
    details = {"a": long, "b": [long, 3, {"c": long}], "d": None, "e": 1.5, "f": (long,)}
    shown = fitted_all(details)
    broken = fitted(long)
    assert shown == {"a": broken, "b": [broken, 3, {"c": broken}], "d": None, "e": 1.5, "f": [broken]}


# --- files named by digest ----------------------------------------------------------------------------


@pytest.fixture
def artefacts(tmp_path: Path) -> ArtefactFolder:
    return ArtefactFolder(tmp_path / "artefacts")


def test_what_is_put_is_got(artefacts: ArtefactFolder) -> None:
    digest = artefacts.put(b"a model")
    assert digest == sha256_hex(b"a model")
    assert artefacts.put(b"a model") == digest
    assert artefacts.get(digest) == b"a model"
    assert artefacts.path(digest).stat().st_mode & 0o777 == 0o600
    artefacts.remove(digest)
    artefacts.remove(digest)
    with pytest.raises(SetupError, match="is missing; restore the folder from a backup"):
        artefacts.get(digest)


@pytest.mark.parametrize(
    "name", ["", "..", "../secret", "a" * 63, "A" * 64, "a" * 62 + "/.", "/etc/passwd", "a" * 64 + "\n", "\x00" * 64]
)
def test_no_name_leads_out_of_the_folder(artefacts: ArtefactFolder, name: str) -> None:
    for use in (artefacts.get, artefacts.path, artefacts.remove):
        with pytest.raises(DigestInvalid):
            use(name)


@pytest.mark.parametrize("change", [b"", b"a mode", b"a modem", b"a model "])
def test_a_file_that_was_changed_is_found(artefacts: ArtefactFolder, change: bytes) -> None:
    digest = artefacts.put(b"a model")
    artefacts.path(digest).write_bytes(change)
    with pytest.raises(SetupError, match="is not what was stored"):
        artefacts.get(digest)


# --- logs ---------------------------------------------------------------------------------------------


@pytest.fixture
def log_lines() -> Iterator[Lines]:
    stream = io.StringIO()
    before = structlog.get_config()
    logs.configure(stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.configure(**before)


def test_no_value_under_a_secrets_name_is_written(log_lines: Lines) -> None:
    secrets = ("token", "passphrase", "password", "private_key", "secret", "share", "seed", "mask")
    structlog.get_logger("test").info("event", node="zurich", **dict.fromkeys(secrets, "s3cret"))
    [line] = log_lines()
    assert line["node"] == "zurich"
    assert {line[name] for name in secrets} == {"[redacted]"}


def test_secret_types_never_print_themselves(log_lines: Lines) -> None:
    structlog.get_logger("test").warning("event", anything=SecretBytes(b"s3cret"), nested=[SecretBytes(b"s3cret")])
    assert "s3cret" not in json.dumps(log_lines())


def test_a_log_line_is_one_line(log_lines: Lines) -> None:
    """Text from outside cannot look like another entry."""
    structlog.get_logger("test").info("event", sentence='x\n{"event": "forged"}')
    structlog.get_logger("test").debug("not shown")
    assert [line["event"] for line in log_lines()] == ["event"]
