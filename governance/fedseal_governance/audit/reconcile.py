"""Comparing two parties' exported logs: where they contradict each other, and what only one of them says.

Each bundle is verified first; then three things are compared:

1. claims about the same job, round, sum or refusal (`claims`);
2. checkpoints of one log that the other says it has seen and cosigned: the log must still have that root;
3. commitments to a node's log that the coordinator has recorded (`links`): the node's log must still open them.

Rules kept here: a contradiction is only what cannot come about honestly; what one log lacks is told with the honest
explanations there are. What neither log says is out of reach, and `LIMITS` says so.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from fedseal_crypto.digests import Digest
from fedseal_crypto.notes import NoteVerifier
from fedseal_governance.audit.claims import (
    Absence,
    Claim,
    Key,
    coordinator_claims,
    node_claims,
    party_of,
    shared_claims,
)
from fedseal_governance.audit.entries import Entry
from fedseal_governance.audit.errors import ReconcileRefused
from fedseal_governance.audit.links import COSIGNED, LogLink
from fedseal_governance.audit.reading import bundle_documents, bundle_entries, roots_at
from fedseal_governance.audit.verify import Verified, verify_bundle

LIMITS = (
    "What neither log says stays unknown: two parties that leave out the same event agree. A claim that only one log "
    "makes is not thereby false. Entries after the last link rest on the party's own word until the next one."
)

_COORDINATOR_TYPES = frozenset({"job.submitted", "round.started"})
_MAX_LINKS = 16 << 20
"""Bytes of a document of commitments; ten thousand nodes have under a megabyte."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Kind(StrEnum):
    """What a finding is."""

    CONTRADICTION = "contradiction"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A claim on which the two logs do not agree.

    Attributes:
        sentence: What each log says.
        first: The entry in the first log; None if it is the one that is silent.
        second: The entry in the second log; None if it is the one that is silent.
    """

    kind: Kind
    sentence: str
    first: int | None
    second: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """What came of comparing two logs.

    Attributes:
        agreed: Claims that both logs make alike.
        linked: For each log, how many of its first entries the other log vouches for; None where it vouches for none.
        findings: Contradictions first, each in the order of its entries.
    """

    first: Verified
    second: Verified
    agreed: int
    linked: tuple[int | None, int | None]
    findings: tuple[Finding, ...]

    @property
    def contradictions(self) -> int:
        """How many findings cannot have come about honestly."""
        return sum(item.kind is Kind.CONTRADICTION for item in self.findings)


def reconcile(first: Path, second: Path, *, keys: Iterable[NoteVerifier] | None = None) -> Reconciliation:
    """Compare two bundles, folders or zip files.

    Args:
        first: A bundle.
        second: Another party's bundle.
        keys: The keys of logs and witnesses that the reader trusts; None to take those in the bundles.

    Raises:
        AuditError: One of them does not verify.
        ReconcileRefused: They are not two logs of one federation.
    """
    trusted = None if keys is None else tuple(keys)
    left, right = _Log(first, verify_bundle(first, keys=trusted)), _Log(second, verify_bundle(second, keys=trusted))
    if left.origin == right.origin or left.federation != right.federation:
        raise ReconcileRefused(
            f"{first} is the log {left.origin} and {second} is {right.origin}; give the logs of two parties of one "
            "federation."
        )
    agreed, findings = _compare(left, right)
    for log, other, flipped in ((left, right, False), (right, left, True)):
        found = [*_check_seen(log, other), *_check_links(log, other)]
        agreed += sum(item is None for item in found)
        findings += [_flipped(item) if flipped else item for item in found if item is not None]
    findings.sort(key=lambda item: (item.kind is Kind.MISSING, item.first or item.second or 0))
    return Reconciliation(
        first=left.verified,
        second=right.verified,
        agreed=agreed,
        linked=(left.linked, right.linked),
        findings=tuple(findings),
    )


class _Log:
    """A verified bundle with what is needed of it."""

    def __init__(self, path: Path, verified: Verified) -> None:
        self.path, self.verified, self.origin = path, verified, verified.origin
        self.party, self.federation = party_of(self.origin), self.origin.rpartition("/")[0]
        # The bundle was verified: its entries are whole and canonical.
        self.entries = [entry for entry in bundle_entries(path) if _matters(entry)]
        self.coordinates = any(entry.type in _COORDINATOR_TYPES for entry in self.entries)
        self.linked: int | None = None

    def claims(self, other: "_Log") -> Iterator[Claim]:
        if self.coordinates:
            return coordinator_claims(self.entries, other.party)
        return node_claims(self.entries) if other.coordinates else shared_claims(self.entries, other.party)

    def vouched(self, size: int) -> None:
        """Another log knows this one up to here."""
        self.linked = max(size, self.linked or 0)


def _matters(entry: Entry) -> bool:
    return entry.type.startswith(("job.", "round.")) or entry.type == COSIGNED


def _compare(left: _Log, right: _Log) -> tuple[int, list[Finding]]:
    ours, theirs = _by_key(left.claims(right)), _by_key(right.claims(left))
    agreed, findings = 0, list[Finding]()
    for key in [*ours, *(key for key in theirs if key not in ours)]:
        mine, other = ours.get(key), theirs.get(key)
        if mine is not None and other is not None:
            finding = _difference(left, mine, right, other)
            agreed += finding is None
            findings += [] if finding is None else [finding]
        elif mine is not None:
            findings.append(_absence(left, mine, right))
        elif other is not None:
            findings.append(_flipped(_absence(right, other, left)))
    return agreed, findings


def _by_key(claims: Iterable[Claim]) -> dict[Key, Claim]:
    found: dict[Key, Claim] = {}
    for claim in claims:
        found.setdefault(claim.key, claim)
    return found


def _difference(left: _Log, mine: Claim, right: _Log, other: Claim) -> Finding | None:
    names = [name for name in mine.values if name in other.values and mine.values[name] != other.values[name]]
    if not names:
        return None
    said = "; ".join(
        f"{name} is {_shown(mine.values[name])} in the one and {_shown(other.values[name])} in the other"
        for name in names
    )
    sentence = f"{left.party} says {mine.says}, {right.party} says {other.says}: {said}."
    return Finding(kind=Kind.CONTRADICTION, sentence=sentence, first=mine.seq, second=other.seq)


def _absence(speaker: _Log, claim: Claim, silent: _Log) -> Finding:
    required = claim.absence is Absence.REQUIRED and (speaker.coordinates or silent.coordinates)
    kind = Kind.CONTRADICTION if required else Kind.MISSING
    why = (
        f"{silent.party} would have written it down before the other could know."
        if required
        else claim.excuse or "What was told to one need not have reached the other."
    )
    sentence = f"{speaker.party} says {claim.says}; {silent.party} says nothing of it. {why}"
    return Finding(kind=kind, sentence=sentence, first=claim.seq, second=None)


def _flipped(finding: Finding) -> Finding:
    return Finding(kind=finding.kind, sentence=finding.sentence, first=finding.second, second=finding.first)


def _check_seen(witness: _Log, log: _Log) -> Iterator[Finding | None]:
    """Checkpoints of `log` that `witness` says it has cosigned."""
    seen = [entry for entry in witness.entries if entry.type == COSIGNED and entry.subject == log.origin]
    roots = roots_at(log.path, (_size(entry) for entry in seen))
    for entry in seen:
        size, root = _size(entry), entry.details.get("root")
        found = roots.get(size)
        if found is not None and found.hex() == root:
            log.vouched(size)
            yield None
            continue
        sentence = (
            f"{witness.party} cosigned a checkpoint of {size} entries of {log.party} with the root {_shown(root)}; "
            + (
                f"the bundle ends after {log.verified.size} entries: it is older, or entries were removed."
                if found is None
                else "these entries have another root now: they were rewritten, or others are shown another log."
            )
        )
        # an export made before that checkpoint is honest, but then it must be replaced before it proves anything
        kind = Kind.MISSING if found is None else Kind.CONTRADICTION
        yield Finding(kind=kind, sentence=sentence, first=entry.seq, second=None)


def _check_links(keeper: _Log, log: _Log) -> Iterator[Finding | None]:
    """Commitments to the state of `log` that `keeper` has recorded."""
    known = {link.commitment: (entry, link) for entry, link in _links(log)}
    roots = roots_at(log.path, (link.size for _, link in known.values()))
    told: set[str] = set()
    for entry in keeper.entries:
        commitment = _site_logs(keeper.path, entry).get(log.party)
        if commitment is None or commitment in told:
            continue
        told.add(commitment)
        opened = known.get(Digest(commitment))
        made, link = (None, None) if opened is None else opened
        if link is not None and roots.get(link.size) == bytes.fromhex(link.root):
            log.vouched(link.size)
            yield None
            continue
        state = "no entry of it opens that commitment" if link is None else "its entries have another root now"
        sentence = (
            f"{keeper.party} recorded a commitment to the state of {log.party}'s log; {state}: entries before it "
            "were changed or removed, or the bundle is older."
        )
        older = made is None and log.verified.last_time is not None and log.verified.last_time < entry.time
        yield Finding(
            kind=Kind.MISSING if older else Kind.CONTRADICTION,
            sentence=sentence,
            first=entry.seq,
            second=None if made is None else made.seq,
        )


def _links(log: _Log) -> Iterator[tuple[Entry, LogLink]]:
    for entry in log.entries:
        link = LogLink.from_details(log.origin, entry.details.get("own_log")) if entry.type == COSIGNED else None
        if link is not None:
            yield entry, link


def _site_logs(path: Path, entry: Entry) -> Mapping[str, str]:
    """The commitments in an entry, or in the document that it names for a large federation."""
    found: object = entry.details.get("site_logs", {})
    if isinstance(found, str) and _DIGEST.fullmatch(found):
        found = json.loads(bundle_documents(path, [found], max_bytes=_MAX_LINKS).get(found, b"{}"))
    if not isinstance(found, Mapping):
        return {}
    return {str(node): str(commitment) for node, commitment in found.items()}


def _size(entry: Entry) -> int:
    size = entry.details.get("size")
    return size if isinstance(size, int) else -1


def _shown(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{text[:12]}…" if _DIGEST.fullmatch(text) else text[:200]
