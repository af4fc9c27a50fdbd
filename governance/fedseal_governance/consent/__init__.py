"""Consents of the people in a node's datasets: recorded, imported, withdrawn, asked for before every round.

Pseudonyms never leave the node and never enter a log.
"""

from fedseal_governance.consent.impact import Impact, StageUse, impact
from fedseal_governance.consent.importing import ImportOptions, ImportReport, import_consents
from fedseal_governance.consent.model import Consent
from fedseal_governance.consent.persons import RecordKey, Register, require_key, root_of
from fedseal_governance.consent.proving import RecordProof, prove
from fedseal_governance.consent.rows import Watch
from fedseal_governance.consent.store import (
    Event,
    PurposeCount,
    RecordedConsent,
    describe,
    history,
    in_force,
    record,
    status,
    summary,
    withdraw,
)

__all__ = [
    "Consent",
    "Event",
    "Impact",
    "ImportOptions",
    "ImportReport",
    "PurposeCount",
    "RecordKey",
    "RecordProof",
    "RecordedConsent",
    "Register",
    "StageUse",
    "Watch",
    "describe",
    "history",
    "impact",
    "import_consents",
    "in_force",
    "prove",
    "record",
    "require_key",
    "root_of",
    "status",
    "summary",
    "withdraw",
]
