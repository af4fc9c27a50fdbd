"""Consents one by one: what counts, withdrawals and what comes after them, and that pseudonyms stay here."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from fedseal_crypto.secret import SecretBytes
from fedseal_governance.consent import (
    Consent,
    RecordKey,
    Register,
    describe,
    history,
    in_force,
    record,
    root_of,
    status,
    summary,
    withdraw,
)
from fedseal_governance.errors import AlreadyDone, NotFound, RefusedError, TamperError
from fedseal_governance.tables import metadata
from tests.unit.governance.registers import HEART, RECORD_KEY

if TYPE_CHECKING:
    from tests.unit.governance.conftest import Office

HMB, GRU, POA = "DUO:0000006", "DUO:0000042", "DUO:0000011"
ONE_DISEASE = "DUO:0000007/MONDO:0005267"
MARIA = Consent(
    pseudonym="CLE-0001",
    purpose=HMB,
    given_on=date(2026, 1, 5),
    valid_until=date(2026, 12, 31),
    form_version="v2",
    recorded_by="dr-lee",
)


def give(office: "Office", consent: Consent) -> None:
    office.change(lambda act: record(act, HEART, consent))


def end(office: "Office", pseudonym: str = "CLE-0001", purpose: str | None = None) -> int:
    return office.change(lambda act: withdraw(act, HEART, pseudonym, purpose=purpose))


def usable(office: "Office", purpose: str = HMB, dataset: str = "heart") -> set[str]:
    return set(office.read(lambda session: in_force(session, dataset=dataset, purpose=purpose, now=office.now)))


def test_consent_counts_from_its_first_to_its_last_day(office: "Office") -> None:
    give(office, MARIA)
    for moment, counts in [
        (datetime(2026, 1, 4, 23, 59, tzinfo=UTC), False),
        (datetime(2026, 1, 5, 0, 0, tzinfo=UTC), True),
        (datetime(2026, 12, 31, 23, 59, tzinfo=UTC), True),
        (datetime(2027, 1, 1, 0, 0, tzinfo=UTC), False),
    ]:
        office.now = moment
        assert usable(office) == ({"CLE-0001"} if counts else set())


@pytest.mark.parametrize(
    ("given", "asked", "counts"),
    [
        (HMB, HMB, True),
        (GRU, HMB, True),
        (HMB, GRU, False),
        (HMB, POA, False),
        (HMB, ONE_DISEASE, True),
        (ONE_DISEASE, HMB, False),
        (HMB, "DUO:1", False),
    ],
)
def test_purpose_decides(office: "Office", given: str, asked: str, counts: bool) -> None:
    give(office, replace(MARIA, purpose=given))
    assert usable(office, asked) == ({"CLE-0001"} if counts else set())


def test_consent_without_end_and_other_dataset(office: "Office") -> None:
    give(office, replace(MARIA, valid_until=None))
    office.now = datetime(2070, 1, 1, tzinfo=UTC)
    assert usable(office) == {"CLE-0001"}
    assert usable(office, dataset="lungs") == set()
    (found,) = office.read(lambda session: status(session, HEART, "CLE-0001", now=office.now))
    assert found.consent is not None
    assert (found.consent.valid_until, found.state) == (None, "in force")


def test_withdrawal_takes_effect_at_once(office: "Office") -> None:
    give(office, MARIA)
    give(office, replace(MARIA, pseudonym="CLE-0002"))
    assert end(office) == 1
    assert usable(office) == {"CLE-0002"}
    (found,) = office.read(lambda session: status(session, HEART, "CLE-0001", now=office.now))
    assert (found.state, found.withdrawn_at) == ("withdrawn", office.now)
    events = office.read(lambda session: history(session, HEART, "CLE-0001"))
    assert [(event.what, event.purpose) for event in events] == [("given", HMB), ("withdrawn", None)]


@pytest.mark.parametrize(
    ("given", "withdrawn", "ended"),
    [(GRU, HMB, 1), (ONE_DISEASE, HMB, 1), (HMB, HMB, 1), (POA, HMB, 0), (HMB, None, 1)],
)
def test_withdrawal_reaches_broader_and_narrower_purposes(
    office: "Office", given: str, withdrawn: str | None, ended: int
) -> None:
    give(office, replace(MARIA, purpose=given))
    assert end(office, purpose=withdrawn) == ended


def test_given_again_counts_again(office: "Office") -> None:
    give(office, MARIA)
    end(office)
    with pytest.raises(RefusedError, match="withdrew on 2026-05-04, after this consent of 2026-01-05"):
        give(office, MARIA)
    assert usable(office) == set()
    give(office, replace(MARIA, given_on=date(2026, 5, 4)))
    assert usable(office) == {"CLE-0001"}


def test_the_same_consent_withdrawn_and_given_again_on_one_day(office: "Office") -> None:
    today = replace(MARIA, given_on=date(2026, 5, 4))
    for _ in range(3):
        give(office, today)
        assert usable(office) == {"CLE-0001"}
        end(office)
        assert usable(office) == set()


def test_clock_set_back_never_revives_a_withdrawn_consent(office: "Office") -> None:
    give(office, MARIA)
    end(office)
    office.now -= timedelta(days=30)
    assert usable(office) == set()


def test_same_consent_twice(office: "Office") -> None:
    give(office, MARIA)
    with pytest.raises(AlreadyDone):
        give(office, MARIA)


def test_withdrawal_of_an_unknown_person(office: "Office") -> None:
    with pytest.raises(NotFound, match="check its spelling"):
        end(office, "CLE-0009")
    office.change(lambda act: withdraw(act, HEART, "CLE-0009", even_if_unknown=True))
    with pytest.raises(RefusedError, match="withdrew on"):
        give(office, replace(MARIA, pseudonym="CLE-0009"))


def test_withdrawal_for_an_unknown_purpose(office: "Office") -> None:
    with pytest.raises(RefusedError, match="did you mean DUO:0000006"):
        end(office, purpose="HMB")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pseudonym": ""}, "`pseudonym` cannot be used"),
        ({"pseudonym": "a\nb"}, "`pseudonym` cannot be used"),
        ({"pseudonym": "x" * 129}, "`pseudonym` cannot be used"),
        ({"purpose": "DUO:0000007"}, "does not say which disease"),
        ({"given_on": date(2026, 5, 5)}, "`given_on` cannot be used: it lies in the future"),
        ({"valid_from": date(2027, 1, 1)}, "`valid_from` cannot be used: it is after `valid_until`"),
        ({"valid_until": date(2026, 1, 4)}, "`valid_until` cannot be used: it is before `given_on`"),
        ({"form_version": " "}, "`form_version` cannot be used"),
        ({"recorded_by": ""}, "`recorded_by` cannot be used"),
    ],
)
def test_wrong_values(office: "Office", change: dict[str, object], words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        give(office, replace(MARIA, **change))  # type: ignore[arg-type]  # each value has its field's type
    assert usable(office) == set()


def test_summary_counts_people_by_purpose(office: "Office") -> None:
    give(office, MARIA)
    give(office, replace(MARIA, form_version="v3"))
    give(office, replace(MARIA, pseudonym="CLE-0002", valid_until=date(2026, 2, 1)))
    give(office, replace(MARIA, pseudonym="CLE-0003"))
    end(office, "CLE-0003")
    (count,) = office.read(lambda session: summary(session, "heart", now=office.now))
    assert (count.in_force, count.withdrawn, count.expired) == (1, 1, 1)
    assert describe(count) == (
        "health or medical or biomedical research (DUO:0000006): 1 in force, 1 withdrawn, 1 expired"
    )


def test_no_pseudonym_in_log_error_or_repr(office: "Office") -> None:
    give(office, MARIA)
    end(office)
    (found,) = office.read(lambda session: status(session, HEART, "CLE-0001", now=office.now))
    texts = [str(office.journal.entries), repr(found)]
    for attempt in (lambda: give(office, MARIA), lambda: end(office, "CLE-0404")):
        with pytest.raises(RefusedError) as caught:
            attempt()
        texts.append(str(caught.value))
    assert "CLE-0" not in " ".join(texts)
    assert office.journal.types == ["consent.recorded", "consent.withdrawn"]


def test_digest_of_a_set_depends_on_the_set_and_the_key_alone() -> None:
    digest = root_of(RECORD_KEY.leaves(["b", "a", "b"]))
    assert digest == root_of(RECORD_KEY.leaves(("a", "b")))
    assert digest != root_of(RECORD_KEY.leaves(["a"]))
    other = RecordKey(SecretBytes(b"t" * 16))
    assert digest != root_of(other.leaves(["a", "b"]))
    assert other.fingerprint != RECORD_KEY.fingerprint
    assert len(root_of(())) == 64
    with pytest.raises(ValueError, match="16 random bytes"):
        RecordKey(SecretBytes(b"short"))


def everything_stored(office: "Office") -> str:
    """Every value of every table, as text."""
    with office.database.engine.connect() as connection:
        rows = [connection.execute(table.select()).all() for table in metadata.sorted_tables]
    return repr(rows)


def test_content_goes_with_the_withdrawal_and_its_digest_stays(office: "Office") -> None:
    give(office, replace(MARIA, recorded_by="dr-lee", form_version="rare-form-7"))
    assert "CLE-0001" in everything_stored(office)
    (before,) = office.read(lambda session: status(session, HEART, "CLE-0001", now=office.now))
    end(office)
    kept = everything_stored(office)
    for gone in ("CLE-0001", "dr-lee", "rare-form-7", "2026, 1, 5"):
        assert gone not in kept
    (after,) = office.read(lambda session: status(session, HEART, "CLE-0001", now=office.now))
    assert (after.consent, after.digest) == (None, before.digest)
    assert RECORD_KEY.leaf("CLE-0001").hex() in kept


def test_another_key_is_refused_once_digests_were_made(office: "Office") -> None:
    """With it, who withdrew would no longer be recognised."""
    stranger = Register(dataset="heart", key=RecordKey(SecretBytes(b"k" * 32)))
    office.change(lambda act: record(act, stranger, MARIA))
    end(office)
    for attempt in (
        lambda act: record(act, stranger, MARIA),
        lambda act: withdraw(act, stranger, "CLE-0001"),
        lambda act: status(act.session, stranger, "CLE-0001", now=office.now),
        lambda act: history(act.session, stranger, "CLE-0001"),
    ):
        with pytest.raises(TamperError, match="record key"):
            office.change(attempt)


def test_consent_that_begins_later(office: "Office") -> None:
    give(office, replace(MARIA, valid_from=date(2026, 6, 1)))
    assert usable(office) == set()
    (found,) = office.read(lambda session: status(session, HEART, "CLE-0001", now=office.now))
    assert found.state == "not yet valid"
    office.now = datetime(2026, 6, 1, tzinfo=UTC)
    assert usable(office) == {"CLE-0001"}


def test_history_of_consents_that_stand(office: "Office") -> None:
    give(office, replace(MARIA, valid_until=None))
    (event,) = office.read(lambda session: history(session, HEART, "CLE-0001"))
    assert (event.by, event.detail) == ("dr-lee", "form v2 of 2026-01-05, from 2026-01-05 without end")
