"""The audit log: how fast entries are appended, and how long checking 100 000 of them takes.

    make bench-audit            prints a table
    make bench-audit JSON=FILE  also writes rows {case, metric, unit, ours, floor}

Entries are those of a completed round with four nodes, about 400 bytes. They are appended through SQLite in two ways:
many in one transaction, which is the log's own cost, and one in each transaction, which is how most are written: then
every entry also waits until the disk has flushed it (`synchronous=FULL`). ``floor`` is a transaction that updates one
row and nothing else, in the same run on the same file: no log can be faster there, and the rate is the disk's.

Promised: 2 000 entries a second appended in one transaction, and in transactions of their own a third of what the disk
allows; verified in under 10 seconds; proofs no longer than the logarithm. The script exits 1 if one does not hold.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy.orm import Session

from fedseal_crypto.identity import IdentityKey
from fedseal_governance.audit import AuditLog, check_log, verify_bundle, verify_proof
from fedseal_governance.audit.verifier import verify as verify_alone
from fedseal_governance.database import Database
from fedseal_migrations import upgrade

ENTRIES = 100_000
EACH = 4_000
PROMISED_RATE = 2_000
PROMISED_SECONDS = 10.0
DETAILS = {
    "stage": "training",
    "round": 3,
    "attempt": 0,
    "recovered": [],
    "state": "e8" * 32,
    "survivors": ["cleveland", "hungary", "switzerland", "va-long-beach"],
}
NOW = datetime(2026, 3, 1, 8, 30, tzinfo=UTC)
Row = dict[str, object]


def seconds(work: Callable[[], object]) -> float:
    """Wall time."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(folder: Path) -> list[Row]:
    """Every case, on a database in this folder."""
    database = Database(f"sqlite:///{folder}/log.db")
    upgrade(database.engine)
    log = AuditLog("fedseal/bench/coordinator", IdentityKey.generate(os.urandom))

    def one(session: Session) -> None:
        log.append(
            session, time=NOW, type="round.completed", actor="node/a", subject="job/" + "73" * 32, details=DETAILS
        )

    def many(session: Session) -> None:
        for _ in range(ENTRIES - EACH):
            one(session)

    def each(work: Callable[[Session], None]) -> None:
        for _ in range(EACH):
            database.run("bench", work)

    together = seconds(lambda: database.run("bench", many))
    single = seconds(lambda: each(one))
    floor = seconds(
        lambda: each(lambda session: session.connection().exec_driver_sql("UPDATE audit_head SET id = 1").close())
    )
    database.run("bench", lambda session: log.checkpoint(session, NOW))
    bundle = folder / "bundle.zip"
    exported = seconds(lambda: database.read(lambda session: log.export(session, bundle, {})))
    rows: list[Row] = [
        row("append, one transaction for all", "entries/s", (ENTRIES - EACH) / together),
        row("append, one transaction each", "entries/s", EACH / single, EACH / floor),
        row("export", "s", exported),
        row("verify the bundle", "s", seconds(lambda: verify_bundle(bundle))),
        row("verify with the single file", "s", seconds(lambda: verify_alone(bundle))),
        row("check the database", "s", seconds(lambda: database.read(lambda s: check_log(s, log.origin)))),
    ]
    rows += proofs(database, log)
    database.close()
    return rows


def proofs(database: Database, log: AuditLog) -> list[Row]:
    """Length and cost of inclusion and consistency proofs at the full size."""
    proof = database.read(lambda session: log.prove(session, ENTRIES // 3))
    growth = database.read(lambda session: log.consistency(session, ENTRIES // 3, ENTRIES))
    document = proof.to_json()
    making = seconds(lambda: database.read(lambda session: log.prove(session, ENTRIES // 3)))
    checking = seconds(lambda: verify_proof(document))
    return [
        row("inclusion proof", "hashes", len(proof.path), ENTRIES.bit_length()),
        row("consistency proof", "hashes", len(growth), ENTRIES.bit_length() + 1),
        row("make an inclusion proof", "ms", making * 1000),
        row("verify an inclusion proof", "ms", checking * 1000),
    ]


def row(case: str, unit: str, ours: float, floor: float | None = None) -> Row:
    """One line of the table; `floor` of a proof is its longest permitted length."""
    return {"case": case, "metric": f"{ENTRIES} entries", "unit": unit, "ours": ours, "floor": floor}


def broken(rows: list[Row]) -> list[str]:
    """Promises that do not hold."""
    found: dict[str, float] = {str(item["case"]): float(str(item["ours"])) for item in rows}
    disk = next(float(str(item["floor"])) for item in rows if item["case"] == "append, one transaction each")
    promises = {
        "append, one transaction for all": found["append, one transaction for all"] >= PROMISED_RATE,
        "append, one transaction each": found["append, one transaction each"] >= disk / 3,
        "verify the bundle": found["verify the bundle"] < PROMISED_SECONDS,
        "verify with the single file": found["verify with the single file"] < PROMISED_SECONDS,
        "check the database": found["check the database"] < PROMISED_SECONDS,
        "inclusion proof": found["inclusion proof"] <= ENTRIES.bit_length(),
        "consistency proof": found["consistency proof"] <= ENTRIES.bit_length() + 1,
    }
    return [case for case, holds in promises.items() if not holds]


def main() -> int:
    """Measure, print, and tell which promises are broken."""
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder))
    table = Table("case", "unit", "ours", "floor / limit", title=f"Audit log of {ENTRIES:,} entries")
    for item in rows:
        limit = item["floor"]
        table.add_row(
            str(item["case"]), str(item["unit"]), f"{item['ours']:,.1f}", "" if limit is None else f"{limit:,.0f}"
        )
    Console().print(table)
    if target := os.environ.get("JSON"):
        Path(target).write_text(json.dumps(rows, indent=1), encoding="utf-8")
    failures = broken(rows)
    for case in failures:
        print(f"broken: {case}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
