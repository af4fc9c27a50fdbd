"""How fast a node takes in and filters the consents of a large dataset.

    make bench-consents                    (environment: ROWS=1000000, JSON=FILE)

Measured with a real database in a file, SQLite as in production (WAL, synchronous=FULL), and the real audit log:

- import of ROWS consents from CSV, from FHIR NDJSON, and of the same CSV file again;
- the filter before a contribution: the pseudonyms with a consent in force for the purpose, and choosing the rows of
  the dataset that are among them;
- the digest of the set of records, as computed when the set has changed, and keeping the set; one more set after a
  withdrawal, in bytes;
- one withdrawal, and where its record was used.
"""

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict, TypeVar

from sqlalchemy import func, select

from fedseal_crypto.secret import SecretBytes
from fedseal_governance.acts import Act
from fedseal_governance.audit import AuditLog
from fedseal_governance.consent import RecordKey, Register, impact, import_consents, in_force, root_of, withdraw
from fedseal_governance.database import Database
from fedseal_governance.snapshots import keep
from fedseal_governance.snapshots.tables import SnapshotRow
from fedseal_migrations import upgrade

T = TypeVar("T")

PURPOSE = "DUO:0000006"
NOW = datetime(2026, 5, 4, tzinfo=UTC)
KEY = RecordKey(SecretBytes(bytes(32)))
TARGETS = {"import CSV": 120.0, "import FHIR NDJSON": 120.0, "filter": 1.0}


class Row(TypedDict):
    """One row of the JSON file that every benchmark writes; the floor is the target here."""

    case: str
    metric: str
    unit: str
    ours: float
    peer: float | None
    floor: float | None


class Bench:
    """A node's database and the figures measured on it."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.folder, self.rows = folder, rows
        self.figures: list[Row] = []
        self.database = Database(f"sqlite:///{folder / 'node.db'}")
        upgrade(self.database.engine)
        self._log = AuditLog("fedseal/bench/node")

    def change(self, work: Callable[[Act], T]) -> T:
        return self.database.run(
            "bench", lambda session: work(Act(session=session, journal=self._log, actor="node/bench", now=NOW))
        )

    def measure(self, name: str, work: Callable[[], T]) -> T:
        begun, used = time.perf_counter(), time.process_time()
        result = work()
        took, cpu = time.perf_counter() - begun, time.process_time() - used
        target = TARGETS.get(name)
        self.note(name, "seconds", round(took, 3), target)
        self.note(name, "processor seconds", round(cpu, 3))
        verdict = "" if target is None else f"   target {target:g} s: {'met' if took < target else 'MISSED'}"
        print(f"{name:<44}{took:9.3f} s  (processor {cpu:.3f} s){verdict}", flush=True)
        return result

    def note(self, metric: str, unit: str, value: float, target: float | None = None) -> None:
        case = f"{self.rows} consents"
        self.figures.append(Row(case=case, metric=metric, unit=unit, ours=value, peer=None, floor=target))


def pseudonyms(rows: int, prefix: str = "P") -> Iterator[str]:
    return (f"{prefix}-{number:07d}" for number in range(rows))


def write_csv(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.write("pseudonym,purpose,given_on,valid_until,form_version,recorded_by\n")
        stream.writelines(
            f"{name},{PURPOSE},2025-{number % 12 + 1:02d}-{number % 28 + 1:02d},2035-12-31,2.1,clinic-{number % 40}\n"
            for number, name in enumerate(pseudonyms(rows))
        )


def write_fhir(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as stream:
        for number, name in enumerate(pseudonyms(rows, "F")):
            resource = {
                "resourceType": "Consent",
                "id": f"c{number}",
                "status": "active",
                "scope": {"coding": [{"code": "research"}]},
                "patient": {"reference": f"Patient/{name}", "display": "A Name"},
                "dateTime": f"2025-{number % 12 + 1:02d}-{number % 28 + 1:02d}",
                "policy": [{"uri": "urn:form:2.1"}],
                "provision": {
                    "type": "permit",
                    "period": {"end": "2035-12-31"},
                    "purpose": [
                        {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HRESCH"},
                    ],
                },
            }
            stream.write(json.dumps(resource) + "\n")


def run(bench: Bench) -> None:
    people, others = Register(dataset="people", key=KEY), Register(dataset="others", key=KEY)
    table, fhir = bench.folder / "consents.csv", bench.folder / "consents.ndjson"
    write_csv(table, bench.rows)
    write_fhir(fhir, bench.rows)
    first = bench.measure("import CSV", lambda: bench.change(lambda act: import_consents(act, people, table)))
    again = bench.measure("import CSV again", lambda: bench.change(lambda act: import_consents(act, people, table)))
    other = bench.measure("import FHIR NDJSON", lambda: bench.change(lambda act: import_consents(act, others, fhir)))
    assert (first.added, again.added, again.known, other.added) == (bench.rows, 0, bench.rows, bench.rows)

    record_ids = tuple(pseudonyms(bench.rows))

    def chosen() -> list[bool]:
        consented = bench.database.read(lambda session: in_force(session, dataset="people", purpose=PURPOSE, now=NOW))
        return [record in consented for record in record_ids]

    assert sum(bench.measure("filter", chosen)) == bench.rows
    leaves = bench.measure("digests of all records", lambda: KEY.leaves(record_ids))
    digest = bench.measure("Merkle root over them", lambda: root_of(leaves))
    bench.measure(
        "keep the first set", lambda: bench.database.run("keep", lambda session: keep(session, digest, leaves))
    )
    bench.measure("withdraw one", lambda: bench.change(lambda act: withdraw(act, people, record_ids[7])))
    rest = KEY.leaves(record_ids[:7] + record_ids[8:])
    smaller = root_of(rest)
    bench.measure(
        "keep the set without it", lambda: bench.database.run("keep", lambda session: keep(session, smaller, rest))
    )
    bench.measure("impact of one", lambda: bench.database.read(lambda session: impact(session, people, record_ids[7])))
    size = select(func.length(SnapshotRow.members)).where(SnapshotRow.digest == smaller)
    set_bytes = bench.database.read(lambda session: session.scalar(size))
    print(f"{'bytes of one more set':<44}{set_bytes:9d}")
    bench.note("one more set", "bytes", float(set_bytes or 0))


def main() -> None:
    rows = int(os.environ.get("ROWS", "1000000"))
    print(f"{rows} consents, SQLite, {os.cpu_count()} processors, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), rows)
        try:
            run(bench)
        finally:
            bench.database.close()
    target = os.environ.get("JSON")
    if target:
        Path(target).write_text(json.dumps(bench.figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
