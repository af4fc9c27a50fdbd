"""Consents of the people in a node's datasets: recorded, imported, withdrawn, asked for before every round.

Pseudonyms never leave the node and never enter a log.
"""

from fedseal_governance.consent.importing import ImportReport, import_consents
from fedseal_governance.consent.model import Consent
from fedseal_governance.consent.store import (
    Event,
    PurposeCount,
    RecordedConsent,
    describe,
    history,
    in_force,
    record,
    snapshot_digest,
    status,
    summary,
    withdraw,
)

__all__ = [
    "Consent",
    "Event",
    "ImportReport",
    "PurposeCount",
    "RecordedConsent",
    "describe",
    "history",
    "import_consents",
    "in_force",
    "record",
    "snapshot_digest",
    "status",
    "summary",
    "withdraw",
]
