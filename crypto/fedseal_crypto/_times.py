"""Small rules about points in time that several modules share.

Rules it keeps: only aware times are compared; people see UTC in RFC 3339 form, to the second.
"""

from datetime import UTC, datetime

from fedseal_crypto.errors import MisuseError


def as_utc(moment: datetime) -> datetime:
    """The same moment in UTC.

    Raises:
        MisuseError: `moment` has no time zone, so that nobody knows which moment it is.
    """
    if moment.tzinfo is None:
        raise MisuseError(f"{moment.isoformat()} has no time zone; pass an aware time in UTC.")
    return moment.astimezone(UTC)


def shown(moment: datetime) -> str:
    """`moment` for a sentence: `2026-03-01T08:30:00Z`."""
    return as_utc(moment).strftime("%Y-%m-%dT%H:%M:%SZ")
