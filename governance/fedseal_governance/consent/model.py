"""A consent as a value, and the checks that make it one."""

from dataclasses import dataclass
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
    """

    pseudonym: str
    purpose: str
    given_on: date
    valid_until: date | None
    form_version: str
    recorded_by: str

    @property
    def last_day(self) -> date:
        """The last day as it is stored."""
        return OPEN_ENDED if self.valid_until is None else self.valid_until


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


def day_of(now: datetime) -> date:
    """The day, in UTC, on which consents are judged."""
    return now.astimezone(UTC).date()


def _is_plain(text: str, longest: int) -> bool:
    return 0 < len(text) <= longest and text.isprintable() and text == text.strip()
