"""What the coordinator's verified log and its documents say of one job: which entries, and who signed which policy.

Rules kept here: only entries and documents of a bundle that was verified count; signatures are judged at the time of
the entry that used the policy.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fedseal.report.checks import FederationView
from fedseal_crypto.dsse import SignedDocument, signers
from fedseal_crypto.errors import CryptoError
from fedseal_governance.audit import Verified, verify_bundle
from fedseal_governance.audit.entries import Entry
from fedseal_governance.audit.reading import bundle_documents, bundle_entries
from fedseal_governance.errors import GovernanceError
from fedseal_governance.policy import POLICY_TYPE
from fedseal_governance.policy.model import load_policy

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_POLICY = 1 << 20
_MOST_SPANS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyStory:
    """The policy that decided at a node.

    Attributes:
        title: Its name and version; empty when the file is not in the bundle.
        signed_by: Whose signatures on it verify, ready to show.
    """

    title: str
    signed_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEvidence:
    """A job in a verified log.

    Attributes:
        entries: The log's entries about this job.
        documents: The policy files and signed policies that they name, by digest.
    """

    verified: Verified
    entries: tuple[Entry, ...]
    documents: Mapping[str, bytes]

    @property
    def sums_large_enough(self) -> bool:
        """Whether each sum of this job was over at least as many nodes as its round had promised, and there is one."""
        promised = {_address(entry): entry.details.get("minimum_cohort") for entry in self.of("round.started")}
        sums = [(promised.get(_address(entry)), entry.details.get("survivors")) for entry in self.of("round.completed")]
        return bool(sums) and all(
            isinstance(minimum, int) and isinstance(survivors, list) and len(survivors) >= minimum
            for minimum, survivors in sums
        )

    def of(self, kind: str) -> tuple[Entry, ...]:
        """The entries of one type."""
        return tuple(entry for entry in self.entries if entry.type == kind)

    def numbers(self, *types: str) -> tuple[int, ...]:
        """The numbers of the entries of these types."""
        return tuple(entry.seq for entry in self.entries if entry.type in types)


def read_log(bundle: Path, job: str) -> LogEvidence:
    """Verify a coordinator's bundle and take out what it says of a job.

    Args:
        bundle: A folder or zip file.
        job: Digest of the job file.

    Raises:
        AuditError: The bundle does not verify.
    """
    verified = verify_bundle(bundle)
    entries = tuple(entry for entry in bundle_entries(bundle) if entry.subject == f"job/{job}")
    named = {str(entry.details.get(name)) for entry in entries for name in ("policy", "policy_envelope")}
    wanted = sorted(digest for digest in named if _DIGEST.fullmatch(digest))
    return LogEvidence(
        verified=verified, entries=entries, documents=bundle_documents(bundle, wanted, max_bytes=_MAX_POLICY)
    )


def policy_stories(evidence: LogEvidence | None, view: FederationView | None) -> dict[str, PolicyStory]:
    """For each node that answered, the policy that decided and whose signatures on it verify."""
    if evidence is None:
        return {}
    answers = (entry for entry in evidence.entries if entry.type in ("job.accepted", "job.declined"))
    return {entry.actor.removeprefix("node/"): _story(entry, evidence.documents, view) for entry in answers}


def _story(entry: Entry, documents: Mapping[str, bytes], view: FederationView | None) -> PolicyStory:
    content = documents.get(str(entry.details.get("policy")))
    if content is None:
        return PolicyStory(title="", signed_by="")
    try:
        title = load_policy(content, "the policy").title
    except GovernanceError:
        title = ""
    envelope = documents.get(str(entry.details.get("policy_envelope")))
    if envelope is None or view is None:
        return PolicyStory(title=title, signed_by="")
    try:
        document = SignedDocument.from_json(envelope)
        members = signers(document, view.root, payload_type=POLICY_TYPE, now=entry.time, revocations=view.revocations)
    except CryptoError:
        return PolicyStory(title=title, signed_by="the signatures do not verify")
    if document.payload != content:
        return PolicyStory(title=title, signed_by="the signatures are on another file")
    one = len({item.organisation for item in members}) == 1
    names = ", ".join(str(item.name) if one else f"{item.name} ({item.organisation})" for item in members)
    return PolicyStory(title=title, signed_by=f"{names} of {members[0].organisation}" if one else names)


def _address(entry: Entry) -> tuple[object, ...]:
    return tuple(entry.details.get(name) for name in ("stage", "round", "attempt"))


def ranges(numbers: Iterable[int]) -> str:
    """``2 to 5, 8``: numbers for a sentence; many apart only as how many they are, and between which."""
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    if len(spans) > _MOST_SPANS:
        return f"{sum(last - first + 1 for first, last in spans)} from {spans[0][0]} to {spans[-1][1]}"
    return ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in spans)
