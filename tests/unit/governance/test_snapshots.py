"""Sets of records: kept once, found again by digest, asked for one record, and tampering named."""

from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update
from sqlalchemy.orm import Session

from fedseal_governance.consent import root_of
from fedseal_governance.errors import NotFound, TamperError
from fedseal_governance.snapshots import contains, keep, leaves_in
from fedseal_governance.snapshots import store as storing
from fedseal_governance.snapshots.tables import LeafBlockRow, SnapshotRow

if TYPE_CHECKING:
    from tests.unit.governance.conftest import Office


def leaf(number: int) -> bytes:
    return sha256(b"%d" % number).digest()


def keep_set(office: "Office", numbers: set[int]) -> str:
    leaves = sorted(map(leaf, numbers))
    digest = root_of(leaves)
    office.database.run("keep", lambda session: keep(session, digest, leaves))
    return digest


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sets=st.lists(st.sets(st.integers(0, 40)), min_size=1, max_size=5))
def test_any_sets_are_read_back_across_blocks(
    office: "Office", monkeypatch: pytest.MonkeyPatch, sets: list[set[int]]
) -> None:
    monkeypatch.setattr(storing, "BLOCK_LEAVES", 7)
    digests = [keep_set(office, numbers) for numbers in sets]
    with Session(office.database.engine) as session:
        for digest, numbers in zip(digests, sets, strict=True):
            assert leaves_in(session, digest) == tuple(sorted(map(leaf, numbers)))
        for number in (0, 7, 40, 41):
            expected = {digest for digest, numbers in zip(digests, sets, strict=True) if number in numbers}
            assert contains(session, digests, leaf(number)) == expected


def test_a_set_costs_bits_and_its_leaves_once(office: "Office") -> None:
    everybody = set(range(3_000))
    for gone in range(5):
        keep_set(office, everybody - {gone})
    with office.database.engine.connect() as connection:
        blocks = connection.execute(LeafBlockRow.__table__.select()).all()
        sets = connection.execute(SnapshotRow.__table__.select()).all()
    assert sum(len(row.leaves) for row in blocks) == 3_000 * 32
    assert len(sets) == 5
    assert all(len(row.members) < 3_000 // 8 for row in sets)


def test_unknown_and_changed_sets(office: "Office") -> None:
    first, second = keep_set(office, {1, 2}), keep_set(office, {1, 2, 3})
    with pytest.raises(NotFound, match="no set of records"):
        office.read(lambda session: leaves_in(session, "0" * 64))
    with office.database.engine.begin() as connection:
        other = connection.execute(SnapshotRow.__table__.select().where(SnapshotRow.digest == second)).one()
        connection.execute(update(SnapshotRow).where(SnapshotRow.digest == first).values(members=other.members))
    with pytest.raises(TamperError, match="does not give that digest"):
        office.read(lambda session: leaves_in(session, first))
