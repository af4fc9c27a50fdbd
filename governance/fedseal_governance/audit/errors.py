"""What can be wrong with an audit log, its export, its proofs and its checkpoints.

RefusedError
├── EntryRefused            an entry that the format forbids; nothing was written
├── NotCovered              no checkpoint covers what was asked for yet
├── KeyMissing              the log was opened for reading or appending only
├── ReconcileRefused        two logs that cannot be compared
└── ExportRefused           the export cannot be made as asked; nothing was written
TamperError
└── AuditError              evidence does not verify; `entry` is the first wrong one, if it can be told
    ├── BundleMalformed     a file of the bundle is missing, unreadable or too large
    ├── EntryWrong          an entry was changed, added, removed or moved
    ├── CheckpointWrong     the checkpoint's signature, origin, size or root
    ├── LeavesWrong         the list of leaf hashes
    ├── DocumentWrong       a document's bytes or its mention in the log
    ├── ProofWrong          an inclusion proof
    └── ForkDetected        the log contradicts a checkpoint seen before
        └── RolledBack      the log offers a smaller tree than it had signed before
"""

from fedseal_governance.errors import RefusedError, TamperError


class EntryRefused(RefusedError):
    """The entry would break the log's format; nothing was written."""


class NotCovered(RefusedError):
    """No checkpoint covers what was asked for; make one first."""


class KeyMissing(RefusedError):
    """The log was opened without the key that signs its checkpoints."""


class ExportRefused(RefusedError):
    """The export cannot be made as asked; nothing was written."""


class ReconcileRefused(RefusedError):
    """The two logs are not of two parties of one federation."""


class AuditError(TamperError):
    """Evidence does not verify.

    Attributes:
        entry: The sequence number of the first wrong entry; None when it cannot be told or is not an entry.
    """

    def __init__(self, message: str, *, entry: int | None = None) -> None:
        super().__init__(message)
        self.entry = entry


class BundleMalformed(AuditError):
    """A file of the bundle is missing, unreadable or too large."""


class EntryWrong(AuditError):
    """An entry was changed, added, removed or moved."""


class CheckpointWrong(AuditError):
    """The checkpoint does not verify or does not fit the log."""


class LeavesWrong(AuditError):
    """The list of leaf hashes does not fit the checkpoint."""


class DocumentWrong(AuditError):
    """A document is not the one that its name and the log speak of."""


class ProofWrong(AuditError):
    """An inclusion proof does not prove its entry."""


class ForkDetected(AuditError):
    """A log contradicts what it had signed before.

    Attributes:
        seen: The earlier signed checkpoint, as a note.
        offered: The later one; both together are the evidence.
    """

    def __init__(self, message: str, *, seen: str, offered: str) -> None:
        super().__init__(message)
        self.seen = seen
        self.offered = offered


class RolledBack(ForkDetected):
    """A log offers a smaller tree than it had signed before, as after restoring an old backup."""
