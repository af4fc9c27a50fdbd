import pickle
import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from fedseal_crypto.certificates import (
    CLOCK_SKEW,
    Authority,
    CertificateExpired,
    CertificateInvalid,
    CertificateNotYetValid,
    CertificateRevoked,
    EnrolmentRequest,
    ForeignCertificate,
    P256Key,
    Party,
    PartyClaim,
    RequestInvalid,
    RevocationListInvalid,
    RevocationListOlder,
    RevocationListStale,
    RevocationReason,
    RevokedSerial,
    Subject,
    SubjectInvalid,
    TrustRoot,
    create_authority,
    new_request,
)
from fedseal_crypto.errors import MisuseError
from fedseal_crypto.identity import (
    Entropy,
    FederationName,
    IdentityKey,
    KeyUnreadable,
    PartyKind,
    PartyName,
    Role,
    WrongPassphrase,
)
from fedseal_crypto.secret import SecretBytes

OFFICER = frozenset({Role.COMPLIANCE_OFFICER, Role.AUDITOR})


def test_an_identity_certificate_tells_who_may_sign_what(hearts, now: datetime) -> None:  # type: ignore[no-untyped-def]
    pass
