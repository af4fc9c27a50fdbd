"""A process that cannot work says so in one sentence, leaves with the documented code, and changes nothing."""

import hashlib
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from fedseal.local import open_party
from fedseal_cli.exit_codes import ExitCode
from fedseal_crypto.identity import PartyKind
from tests.system import founding
from tests.system.actors import Launch
from tests.system.federation import Federation
from tests.system.founding import Enrolment
from tests.system.processes import PartyProcess

pytestmark = pytest.mark.system

DAY = 86_400.0


def run(federation: Federation, kind: PartyKind, folder: Path, *, clock_offset: float = 0.0) -> PartyProcess:
    """Start a party as an operator would, without expecting that it works."""
    if kind is PartyKind.COORDINATOR:
        arguments = ("coordinator", "run", "--folder", str(folder), "--listen", federation.address)
    else:
        arguments = (kind.value, "run", "--folder", str(folder), "--coordinator", federation.address)
    process = PartyProcess(folder.name, Launch(arguments=arguments, clock_offset=clock_offset))
    federation.retired.append(process)
    return process


def assert_refused(process: PartyProcess, *words: str, code: ExitCode) -> None:
    """The process ends with ``code`` and one sentence that holds ``words``."""
    assert process.wait() == code, process.output
    sentences = [line for line in process.lines if line.startswith("Error: ")]
    assert len(sentences) == 1, process.output
    for word in words:
        assert word in sentences[0]
    assert sentences[0].endswith((".", "!", "?"))
    assert "Traceback" not in process.output


def fingerprint(folder: Path) -> dict[str, str]:
    """Every file below ``folder`` with its digest; SQLite's side files and the running service's mark left out."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-wal", "-shm", ".service"))
    }


@pytest.fixture
def coordinator(idle: Federation) -> Path:
    return idle.folder / "coordinator"


@pytest.fixture
def node(idle: Federation) -> Path:
    return idle.folder / "hungary"


@pytest.fixture
def taken(idle: Federation) -> Iterator[int]:
    """The federation's port, in use by another program."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", idle.port))
        other.listen()
        yield idle.port


def test_port_in_use(idle: Federation, coordinator: Path, taken: int) -> None:
    before = fingerprint(coordinator)
    process = run(idle, PartyKind.COORDINATOR, coordinator)
    assert_refused(process, f"127.0.0.1:{taken}", "another program", "coordinator.yaml", code=ExitCode.STORAGE)
    assert fingerprint(coordinator) == before


@pytest.mark.parametrize("kind", [PartyKind.COORDINATOR, PartyKind.NODE])
def test_missing_database(idle: Federation, coordinator: Path, node: Path, kind: PartyKind) -> None:
    folder = coordinator if kind is PartyKind.COORDINATOR else node
    database = folder / f"{kind.value}.db"
    database.unlink()
    assert_refused(run(idle, kind, folder), database.name, "fedseal db upgrade", code=ExitCode.BAD_INPUT)
    assert not database.exists()


@pytest.mark.parametrize("kind", [PartyKind.COORDINATOR, PartyKind.NODE])
def test_database_of_an_unknown_schema(idle: Federation, coordinator: Path, node: Path, kind: PartyKind) -> None:
    folder = coordinator if kind is PartyKind.COORDINATOR else node
    connection = sqlite3.connect(folder / f"{kind.value}.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    before = fingerprint(folder)
    assert_refused(run(idle, kind, folder), "9999", code=ExitCode.STORAGE)
    assert fingerprint(folder) == before


@pytest.mark.parametrize("kind", [PartyKind.COORDINATOR, PartyKind.NODE])
def test_file_that_is_no_database(idle: Federation, coordinator: Path, node: Path, kind: PartyKind) -> None:
    folder = coordinator if kind is PartyKind.COORDINATOR else node
    database = folder / f"{kind.value}.db"
    database.write_bytes(b"\x7fELF" + bytes(4096))
    assert_refused(run(idle, kind, folder), database.name, code=ExitCode.STORAGE)


def test_misspelt_key_in_the_configuration(idle: Federation, coordinator: Path) -> None:
    (coordinator / "coordinator.yaml").write_text("lisen: 127.0.0.1:7443\n")
    process = run(idle, PartyKind.COORDINATOR, coordinator)
    assert_refused(process, "coordinator.yaml", "lisen", "listen", code=ExitCode.BAD_INPUT)


def test_folder_of_another_party(idle: Federation, coordinator: Path, node: Path) -> None:
    assert_refused(run(idle, PartyKind.NODE, coordinator), "give a node's folder", code=ExitCode.BAD_INPUT)
    assert_refused(run(idle, PartyKind.COORDINATOR, node), "give a coordinator's folder", code=ExitCode.BAD_INPUT)


def test_node_of_another_federation(idle: Federation, tmp_path: Path) -> None:
    """It finds out before it has sent anything, and does not try again for ever."""
    founding.found(tmp_path / "other", federation="other")
    coordinator = idle.start_coordinator()
    process = run(idle, PartyKind.NODE, tmp_path / "other" / "hungary")
    assert_refused(process, "belongs to another federation", code=ExitCode.UNREACHABLE)
    assert not any("node present" in line for line in coordinator.lines)


def test_certificates_of_another_federation_in_the_folder(idle: Federation, node: Path, tmp_path: Path) -> None:
    founding.found(tmp_path / "other", federation="other")
    for name in ("tls.pem", "identity.pem"):
        (node / "certificates" / name).write_bytes(
            (tmp_path / "other" / "hungary" / "certificates" / name).read_bytes()
        )
    assert_refused(run(idle, PartyKind.NODE, node), "federation", code=ExitCode.VERIFICATION_FAILED)


def test_revoked_node_that_knows_it(idle: Federation, node: Path) -> None:
    (node / "certificates" / "revocations.pem").write_bytes(founding.revoke(idle.folder, "node/hungary"))
    process = run(idle, PartyKind.NODE, node)
    assert_refused(process, "node/hungary", "revoked", code=ExitCode.VERIFICATION_FAILED)


@pytest.mark.parametrize("kind", [PartyKind.COORDINATOR, PartyKind.NODE])
def test_expired_certificate(idle: Federation, coordinator: Path, node: Path, kind: PartyKind, tmp_path: Path) -> None:
    """Enrolled so long ago that the certificates have expired; the revocation list is fresh."""
    past = founding.utc_now() - timedelta(days=1_000)
    old = tmp_path / "old"
    founding.found_authority(old, federation="heart", at=past)
    name = "coordinator" if kind is PartyKind.COORDINATOR else "hungary"
    founding.enrol(old, Enrolment(kind=kind.value, name=name, at=past))
    (old / name / "certificates" / "revocations.pem").write_bytes(founding.fresh_revocations(old))
    assert_refused(run(idle, kind, old / name), f"{kind.value}/{name}", "expired", code=ExitCode.VERIFICATION_FAILED)


def test_clock_a_day_behind(idle: Federation, node: Path) -> None:
    process = run(idle, PartyKind.NODE, node, clock_offset=-DAY)
    assert_refused(process, "clock", code=ExitCode.VERIFICATION_FAILED)


def test_clock_years_ahead(idle: Federation, node: Path) -> None:
    process = run(idle, PartyKind.NODE, node, clock_offset=800 * DAY)
    assert_refused(process, code=ExitCode.VERIFICATION_FAILED)


def test_keys_that_others_may_read(idle: Federation, node: Path) -> None:
    (node / "keys" / "identity.pem").chmod(0o644)
    assert_refused(run(idle, PartyKind.NODE, node), "identity.pem", "chmod", code=ExitCode.BAD_INPUT)


@pytest.mark.parametrize("kind", [PartyKind.COORDINATOR, PartyKind.NODE])
def test_a_second_process_on_one_database(idle: Federation, coordinator: Path, node: Path, kind: PartyKind) -> None:
    """The first goes on, and a command beside it is welcome."""
    idle.start_coordinator()
    first = idle.start_node("hungary")
    idle.wait_present("hungary")
    folder = coordinator if kind is PartyKind.COORDINATOR else node
    idle.port += kind is PartyKind.COORDINATOR  # a port of its own, so that only the database can be in the way
    second = run(idle, kind, folder)
    assert_refused(second, "another running service uses this database", code=ExitCode.STORAGE)
    assert first.running
    assert idle.require_coordinator().running
    with open_party(node) as party:
        assert party.run("consent.withdraw", lambda act: act.note("test.done", "node/hungary"), now=founding.utc_now())


def test_a_custodian(idle: Federation) -> None:
    """A second process, another lock than its keys', a log edited by hand, no database."""
    folder = idle.folder / founding.CUSTODIAN
    first = idle.start_custodian()
    first.wait_for_line("The custodian connects")
    second = run(idle, PartyKind.CUSTODIAN, folder)
    assert_refused(second, "another running service uses this database", code=ExitCode.STORAGE)
    assert first.running
    first.stop()
    (folder / "keys" / "vault.key").unlink()
    (folder / "vault" / f"{'0' * 64}.key").write_bytes(b"sealed under the key file that is gone")
    process = run(idle, PartyKind.CUSTODIAN, folder)
    assert_refused(process, "vault.key does not exist", "--seal-passphrase-file", code=ExitCode.BAD_INPUT)
    assert not (folder / "keys" / "vault.key").exists()
    with closing(sqlite3.connect(folder / "custodian.db")) as connection, connection:
        connection.execute("DELETE FROM audit_entries WHERE seq = 1")
    process = run(idle, PartyKind.CUSTODIAN, folder)
    assert_refused(process, "entry 1 of fedseal/heart/data-trust", code=ExitCode.VERIFICATION_FAILED)
    (folder / "custodian.db").unlink()
    process = run(idle, PartyKind.CUSTODIAN, folder)
    assert_refused(process, "custodian.db", "fedseal db upgrade", code=ExitCode.BAD_INPUT)


def test_a_log_that_was_edited_by_hand(idle: Federation, node: Path) -> None:
    with closing(sqlite3.connect(node / "node.db")) as connection, connection:
        connection.execute("DELETE FROM audit_entries WHERE seq = 3")
    process = run(idle, PartyKind.NODE, node)
    assert_refused(process, "entry 3 of fedseal/heart/hungary", code=ExitCode.VERIFICATION_FAILED)
