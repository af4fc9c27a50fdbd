"""A party's audit log as a transparency log: append, checkpoint, prove, witness, export, verify.

Start with `AuditLog`: `append` writes an entry in the transaction of the change it records. `verify_bundle`
and `verify_proof` need nothing but public keys. The entry's rules are in `entries`, the bundle's format in
`_bundle_format`.
"""

from fedseal_governance.audit.bundle import Exported, verifier_source
from fedseal_governance.audit.check import CheckedLog, check_log
from fedseal_governance.audit.checkpoints import SignedCheckpoint
from fedseal_governance.audit.entries import CLOCK_SET_BACK, CLOCK_TOLERANCE, Entry
from fedseal_governance.audit.errors import (
    AuditError,
    BundleMalformed,
    CheckpointWrong,
    DocumentWrong,
    EntryRefused,
    EntryWrong,
    ExportRefused,
    ForkDetected,
    KeyMissing,
    LeavesWrong,
    NotCovered,
    ProofWrong,
    ReconcileRefused,
    RolledBack,
)
from fedseal_governance.audit.links import LogLink, link_now
from fedseal_governance.audit.log import AuditLog
from fedseal_governance.audit.proofs import InclusionProof, ProvenEntry, verify_proof
from fedseal_governance.audit.reconcile import Finding, Reconciliation, reconcile
from fedseal_governance.audit.verify import Verified, verify_bundle
from fedseal_governance.audit.witness import SeenCheckpoint, Witness

__all__ = [
    "CLOCK_SET_BACK",
    "CLOCK_TOLERANCE",
    "AuditError",
    "AuditLog",
    "BundleMalformed",
    "CheckedLog",
    "CheckpointWrong",
    "DocumentWrong",
    "Entry",
    "EntryRefused",
    "EntryWrong",
    "ExportRefused",
    "Exported",
    "Finding",
    "ForkDetected",
    "InclusionProof",
    "KeyMissing",
    "LeavesWrong",
    "LogLink",
    "NotCovered",
    "ProofWrong",
    "ProvenEntry",
    "ReconcileRefused",
    "Reconciliation",
    "RolledBack",
    "SeenCheckpoint",
    "SignedCheckpoint",
    "Verified",
    "Witness",
    "check_log",
    "link_now",
    "reconcile",
    "verifier_source",
    "verify_bundle",
    "verify_proof",
]
