"""Two operating-system processes on one database make neither gap nor fork."""

import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from fedseal_crypto.merkle import leaf_hash, root
from fedseal_crypto.notes import open_checkpoint

if TYPE_CHECKING:
    from tests.unit.audit.conftest import Party

PROGRAM = """
import sys
from datetime import UTC, datetime
from fedseal_governance.audit import AuditLog
from fedseal_governance.database import Database

database, log = Database(sys.argv[1]), AuditLog("fedseal/hearts/central")

def append(session, number):
    return log.append(session, time=datetime.now(UTC), type="test.entry", actor="process/" + sys.argv[2],
                      subject="x", details={"number": number})

for number in range(int(sys.argv[3])):
    database.run("append", lambda session: append(session, number))
"""


@pytest.mark.parametrize("count", [60])
def test_processes_append_in_turn(party: "Party", database_url: str, count: int) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, database_url, name, str(count)]) for name in ("a", "b", "c")
    ]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    entries = party.database.read(lambda session: list(party.log.entries(session)))
    assert [entry.seq for entry in entries] == list(range(3 * count))
    for name in ("a", "b", "c"):
        numbers = [entry.details["number"] for entry in entries if entry.actor == f"process/{name}"]
        assert numbers == list(range(count))
    assert all(first.time <= second.time for first, second in pairwise(entries))
    opened = open_checkpoint(party.checkpoint(), party.verifier)
    assert opened.checkpoint.root == root(leaf_hash(entry.to_bytes()) for entry in entries)


def test_a_killed_process_leaves_whole_entries(party: "Party", database_url: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, database_url, "a", "100000"])
    while party.database.read(party.log.size) < 20:
        assert process.poll() is None
    process.kill()
    process.wait(timeout=30)
    party.grow(1)
    size = party.database.read(party.log.size)
    with party.database.transaction("count") as session:
        assert session.execute(text("SELECT COUNT(*) FROM audit_entries")).scalar_one() == size
    opened = open_checkpoint(party.checkpoint(), party.verifier)
    entries = party.database.read(lambda session: list(party.log.entries(session)))
    assert opened.checkpoint.root == root(leaf_hash(entry.to_bytes()) for entry in entries)
