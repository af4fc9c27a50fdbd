"""A consent as a value, and the checks that make it one."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from fedseal_governance.consent.tables import FORM_LENGTH, OPEN_ENDED, PSEUDONYM_LENGTH
from fedseal_governance.purposes import permits, problem_with

_RECORDER_LENGTH = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """What one person agreed to.

    Attributes:
        pseudonym: the record's identifier in the dataset, never a name.
        purpose: code of the Data Use Ontology.
        given_on: day on which it was given.
        valid_until: last day on which it counts, None for no end.
        form_version: which form was signed.
        recorded_by: who entered it.
        valid_from: first day on which it counts, None for the day on which it was given.
    """

    pseudonym: str = field(repr=False)
    purpose: str
    given_on: date
    valid_until: date | None
    form_version: str
    recorded_by: str
    valid_from: date | None = None

    @property
    def first_day(self) -> date:
        """The first day as it is stored; never before the day on which it was given."""
        return self.given_on if self.valid_from is None else max(self.valid_from, self.given_on)

    @property
    def last_day(self) -> date:
        """The last day as it is stored."""
        return OPEN_ENDED if self.valid_until is None else self.valid_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """What one person refused or took back, as a source states it.

    Attributes:
        purpose: for which purpose, None for every one.
        until: consents that were given on this day or before do not count.
    """

    pseudonym: str = field(repr=False)
    purpose: str | None
    until: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """Why a value cannot be part of a consent; never quotes a pseudonym."""

    column: str
    value: str
    fault: str
    remedy: str


def first_flaw(consent: Consent, *, today: date) -> Flaw | None:
    """The first thing wrong with a consent, or None.

    Args:
        consent: what was entered.
        today: the present day (UTC), after which nobody can have consented.
    """
    if not _is_plain(consent.pseudonym, PSEUDONYM_LENGTH) or " " in consent.pseudonym:
        # The value is left out: it could be a name that should not be here.
        return Flaw(
            column="pseudonym",
            value="",
            fault=f"it is not 1 to {PSEUDONYM_LENGTH} printable characters without spaces",
            remedy="enter the record's pseudonym, never a name",
        )
    problem = problem_with(consent.purpose)
    if problem is not None:
        return Flaw(column="purpose", value=consent.purpose, fault=problem[0], remedy=problem[1])
    return _flaw_of_days(consent, today) or _flaw_of_texts(consent)


def _flaw_of_days(consent: Consent, today: date) -> Flaw | None:
    if consent.given_on > today:
        return Flaw(
            column="given_on",
            value=str(consent.given_on),
            fault="it lies in the future",
            remedy="enter the day on which the form was signed",
        )
    if consent.last_day < consent.given_on:
        return Flaw(
            column="valid_until",
            value=str(consent.valid_until),
            fault=f"it is before `given_on` ({consent.given_on})",
            remedy="swap the two, or leave it empty for no end",
        )
    if consent.last_day < consent.first_day:
        return Flaw(
            column="valid_from",
            value=str(consent.valid_from),
            fault=f"it is after `valid_until` ({consent.valid_until})",
            remedy="swap the two, or leave it empty to begin on `given_on`",
        )
    return None


def _flaw_of_texts(consent: Consent) -> Flaw | None:
    texts = (
        ("form_version", consent.form_version, FORM_LENGTH),
        ("recorded_by", consent.recorded_by, _RECORDER_LENGTH),
    )
    for column, text, longest in texts:
        if not _is_plain(text, longest):
            return Flaw(
                column=column,
                value=text,
                fault=f"it is not 1 to {longest} printable characters",
                remedy="enter it",
            )
    return None


def is_related(consented: str, withdrawn: str | None) -> bool:
    """Whether withdrawing ``withdrawn`` (None: everything) ends a consent for ``consented``.

    It does in both directions: a broader consent includes the withdrawn purpose, and a narrower one lies
    within it.
    """
    return withdrawn is None or permits(consented, withdrawn) or permits(withdrawn, consented)


def content_of(consent: Consent, dataset: str) -> dict[str, object]:
    """All that a consent says, as JSON values; what a tombstone keeps the digest of."""
    return {
        "dataset": dataset,
        "pseudonym": consent.pseudonym,
        "purpose": consent.purpose,
        "given_on": consent.given_on.isoformat(),
        "valid_from": consent.first_day.isoformat(),
        "valid_until": consent.last_day.isoformat(),
        "form_version": consent.form_version,
        "recorded_by": consent.recorded_by,
    }


def day_of(now: datetime) -> date:
    """The day, in UTC, on which consents are judged."""
    return now.astimezone(UTC).date()


def _is_plain(text: str, longest: int) -> bool:
    return 0 < len(text) <= longest and text.isprintable() and text == text.strip()
