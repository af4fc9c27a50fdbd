"""Revocation lists: what the authority has withdrawn, as every verifier holds it in memory.

Rules it keeps: lists are numbered and expire; a verifier that has seen number n accepts none below n, and
uses none whose successor is due. A certificate counts as revoked from its revocation time on, so that
signatures made before that time stay verifiable; the time of a signature must therefore come from a witnessed
log and never from the signer alone.
Reference: RFC 5280, section 5.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from fedseal_crypto._times import as_utc, shown
from fedseal_crypto.certificates.errors import (
    RevocationListInvalid,
    RevocationListOlder,
    RevocationListStale,
)
from fedseal_crypto.certificates.profile import CLOCK_SKEW

MAX_LIST_PEM = 4 * 1024 * 1024
"""Bytes; about 50 000 revoked certificates, far more than a consortium ever issues."""


class RevocationReason(StrEnum):
    """Why a certificate was withdrawn; the subset of RFC 5280, section 5.3.1, that applies here."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "key_compromise"
    AFFILIATION_CHANGED = "affiliation_changed"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessation_of_operation"
    PRIVILEGE_WITHDRAWN = "privilege_withdrawn"

    @property
    def flag(self) -> x509.ReasonFlags:
        """The library's name of this reason."""
        return x509.ReasonFlags[self.value]


_REASON_OF = {reason.flag: reason for reason in RevocationReason}


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedSerial:
    """One withdrawn certificate; both of an enrolment are listed, each with its own serial."""

    serial: int
    revoked_at: datetime
    reason: RevocationReason = RevocationReason.UNSPECIFIED


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocations:
    """A verified revocation list.

    Attributes:
        number: Counts up by one with each list of this authority, from 1.
        serials: The withdrawn certificates by serial number.
        this_update: When the authority issued it.
        next_update: When its successor is due; after that it refuses to answer.
    """

    number: int
    serials: Mapping[int, RevokedSerial]
    this_update: datetime
    next_update: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "serials", MappingProxyType(dict(self.serials)))

    def require_fresh(self, now: datetime) -> None:
        """Refuse to answer for a time after `next_update`.

        Raises:
            RevocationListStale: The successor is due.
        """
        if as_utc(now) > self.next_update:
            raise RevocationListStale(
                f"revocation list {self.number} was to be renewed by {shown(self.next_update)} and it is now "
                f"{shown(now)}; fetch the current list from the federation's authority."
            )

    def revoked(self, serial: int, now: datetime) -> RevokedSerial | None:
        """The entry of `serial` if it counts at `now`, give or take the clock skew; else None."""
        entry = self.serials.get(serial)
        if entry is None or entry.revoked_at > as_utc(now) + CLOCK_SKEW:
            return None
        return entry


def parse_revocations(pem: bytes, root: x509.Certificate) -> Revocations:
    """Read a list and check that `root` signed it; time and number are the caller's part.

    Raises:
        RevocationListInvalid: It is no list, has another issuer, or lacks a field.
    """
    if len(pem) > MAX_LIST_PEM:
        raise RevocationListInvalid(f"the revocation list has {len(pem)} bytes; the limit is {MAX_LIST_PEM}.")
    try:
        crl = x509.load_pem_x509_crl(pem)
        _require_signed(crl, root)
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        serials = {entry.serial: entry for entry in map(_entry, crl)}
        next_update = crl.next_update_utc
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, UnsupportedAlgorithm) as error:
        raise RevocationListInvalid(
            "the revocation list cannot be read; fetch it again from the federation's authority."
        ) from error
    if next_update is None:
        raise RevocationListInvalid("the revocation list does not say when its successor is due.")
    return Revocations(number=number, serials=serials, this_update=crl.last_update_utc, next_update=next_update)


def require_current(revocations: Revocations, *, now: datetime, at_least_number: int) -> None:
    """Check that a list may be taken into use at `now` by a verifier that has seen `at_least_number`.

    Raises:
        RevocationListOlder: A newer one was seen.
        RevocationListStale: Its successor is due.
        RevocationListInvalid: It was issued in the future.
    """
    if revocations.number < at_least_number:
        raise RevocationListOlder(
            f"revocation list {revocations.number} is older than list {at_least_number}, which was already "
            "seen here; fetch the current list from the federation's authority."
        )
    revocations.require_fresh(now)
    if revocations.this_update > as_utc(now) + CLOCK_SKEW:
        raise RevocationListInvalid(
            f"revocation list {revocations.number} was issued at {shown(revocations.this_update)} and this "
            f"machine's clock says {shown(now)}; correct the clock that is wrong."
        )


def _require_signed(crl: x509.CertificateRevocationList, root: x509.Certificate) -> None:
    key = root.public_key()
    genuine = isinstance(key, EllipticCurvePublicKey) and crl.issuer == root.subject
    if not (genuine and isinstance(key, EllipticCurvePublicKey) and crl.is_signature_valid(key)):
        raise RevocationListInvalid(
            "the revocation list was not signed by this federation's authority; fetch it from there."
        )


def _entry(revoked: x509.RevokedCertificate) -> RevokedSerial:
    try:
        flag = revoked.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        flag = x509.ReasonFlags.unspecified
    return RevokedSerial(
        serial=revoked.serial_number,
        revoked_at=revoked.revocation_date_utc,
        # A reason we do not issue still revokes.
        reason=_REASON_OF.get(flag, RevocationReason.UNSPECIFIED),
    )
