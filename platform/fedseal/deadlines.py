"""Dates that a federation must keep, and the sentence that is said in time before each.

After a revocation list's date nothing works any more: every party refuses. After a certificate's date its party is out.
Commands that show these dates therefore warn ahead, and running services say the same in their logs when they start.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

CERTIFICATE_NOTICE = timedelta(days=30)  # enough for an officer on holiday
LIST_NOTICE = timedelta(days=21)  # somebody must open the authority's safe, and carry the list around


def certificate_warning(label: str, until: datetime, now: datetime) -> str | None:
    """What to say about a certificate that ends soon or has ended; None while there is time."""
    if now > until:
        return f"the certificate of {label} ended on {until:%Y-%m-%d}; it needs a new invitation."
    if now <= until - CERTIFICATE_NOTICE:
        return None
    return f"the certificate of {label} ends on {until:%Y-%m-%d}; replace it in time: fedseal certificate rotate DIR"


def list_warning(number: int, due: datetime, now: datetime) -> str | None:
    """What to say about a revocation list whose successor is due soon or was due; None while there is time."""
    if now <= due - LIST_NOTICE:
        return None
    renew = "fedseal certificate revocations --renew --authority DIR, then: fedseal certificate publish"
    then = "every party refuses now" if now > due else "after that every party refuses"
    return f"revocation list {number} is due on {due:%Y-%m-%d}; {then}; at the authority: {renew}"


def spoken(warnings: Iterable[str | None]) -> tuple[str, ...]:
    """Those that have something to say."""
    return tuple(warning for warning in warnings if warning is not None)
