"""Where policies are kept: a node's own machine, or the coordinator for the federation; both answer alike."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fedseal_cli.authority_options import now
from fedseal_cli.local_options import open_policy_holder, person_in
from fedseal_cli.remote import connected

if TYPE_CHECKING:
    from fedseal.client import Client
    from fedseal.local import LocalParty, Person
    from fedseal.wire._generated import coordination_pb2 as pb
    from fedseal_crypto.digests import Digest
    from fedseal_governance.policy import PolicyDocument, PolicyState, StoredPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A policy as commands show it, wherever it is kept."""

    digest: "Digest"
    document: "PolicyDocument"
    content: bytes
    state: "PolicyState"
    proposer: str
    proposed_at: datetime
    signers: tuple[str, ...]
    signatures_missing: int
    in_force_at: datetime | None
    ended_at: datetime | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of a policy's history."""

    seq: int
    time: datetime
    what: str
    who: str
    policy: str
    version: int
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What a new version says to one past job."""

    job: str
    name: str
    decided_at: datetime
    before: bool
    after: bool
    reasons: tuple[tuple[str, str], ...]


class Desk(Protocol):
    """What the commands ask for."""

    def listed(self) -> tuple[Card, ...]:
        """All policies, by name and version."""
        ...

    def propose(self, content: bytes, filename: str) -> Card:
        """Put a file before the officers."""
        ...

    def sign(self, card: Card) -> Card:
        """Sign the exact bytes."""
        ...

    def revoke(self, card: Card, reason: str) -> Card:
        """End a policy."""
        ...

    def history(self, name: str | None) -> tuple[Step, ...]:
        """What happened, from the log."""
        ...

    def impact(self, content: bytes, filename: str) -> tuple[Changed, ...]:
        """What a new version says to past jobs."""
        ...

    @property
    def signer(self) -> str:
        """Whose signature `sign` makes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What the options of a command say about the desk.

    Attributes:
        node: a node's folder, None if none was named.
        federation: whether the coordinator's desk is meant.
        person: the folder of the person who acts.
    """

    node: Path | None
    federation: bool
    person: Path | None
    passphrase_file: Path | None


@contextmanager
def open_desk(where: Where) -> Iterator[Desk]:
    """The desk that the options name.

    Raises:
        SetupError: they name none, or no person for the coordinator's.
    """
    from fedseal.errors import SetupError

    if where.federation:
        if where.person is None:
            raise SetupError("--federation asks the coordinator, which wants to know who you are; add --as DIR.")
        with connected(where.person, where.passphrase_file, None) as client:
            yield _FederationDesk(client, f"person/{where.person.name}")
        return
    if where.node is None:
        raise SetupError("say where: --node DIR for a node's policies, or --federation for the federation's.")
    with open_policy_holder(where.node) as party:
        yield _NodeDesk(party, where)


class _NodeDesk:
    """A node's own policies, in its database on this machine."""

    def __init__(self, party: "LocalParty", where: Where) -> None:
        self._party = party
        self._where = where
        self._opened: Person | None = None

    @property
    def signer(self) -> str:
        return self._person().label

    def listed(self) -> tuple[Card, ...]:
        from fedseal_governance.policy import list_policies

        return tuple(_card(item) for item in self._party.read(list_policies))

    def propose(self, content: bytes, filename: str) -> Card:
        from fedseal_governance.policy import Owner, propose
        from fedseal_governance.vocabulary import PolicyLevel

        person = self._person()
        owner = Owner(level=PolicyLevel.NODE, name=self._party.folder.record.organisation)
        return _card(
            self._party.run(
                "policy.propose",
                lambda act: propose(act, content, filename=filename, owner=owner, proposer=person.member),
                now=now(),
                person=person,
            )
        )

    def sign(self, card: Card) -> Card:
        from fedseal_crypto.dsse import sign_document
        from fedseal_governance.policy import POLICY_TYPE, approve

        person, moment = self._person(), now()
        signature = sign_document(POLICY_TYPE, card.content, key=person.key, certificate_pem=person.certificate_pem)
        trust = self._party.trust(moment)
        return _card(
            self._party.run(
                "policy.approve",
                lambda act: approve(act, card.digest, signature, trust),
                now=moment,
                person=person,
            )
        )

    def revoke(self, card: Card, reason: str) -> Card:
        from fedseal_governance.policy import revoke

        person = self._person()
        return _card(
            self._party.run(
                "policy.revoke",
                lambda act: revoke(act, card.digest, person.member, reason),
                now=now(),
                person=person,
            )
        )

    def history(self, name: str | None) -> tuple[Step, ...]:
        from fedseal_governance.policy.history import policy_history

        log = self._party.log()
        events = self._party.read(lambda session: policy_history(log.entries(session), name=name))
        return tuple(
            Step(
                seq=item.seq,
                time=item.time,
                what=item.what,
                who=item.who,
                policy=item.policy,
                version=item.version,
                note=item.note,
            )
            for item in events
        )

    def impact(self, content: bytes, filename: str) -> tuple[Changed, ...]:
        from fedseal.past_jobs import past_at_node
        from fedseal_governance.policy import load_policy
        from fedseal_governance.policy.impact import replay

        policy = load_policy(content, filename)
        past = self._party.read(past_at_node)
        return tuple(
            Changed(
                job=item.job.digest,
                name=item.job.document.job,
                decided_at=item.job.decided_at,
                before=item.before,
                after=item.after,
                reasons=tuple((reason.label, reason.sentence) for reason in item.reasons),
            )
            for item in replay(past, policy, today=now().date())
        )

    def _person(self) -> "Person":
        from fedseal.errors import SetupError

        if self._where.person is None:
            raise SetupError("say who acts: --as DIR, your own folder, made by `user enrol`.")
        if self._opened is None:
            self._opened = person_in(self._where.person, self._where.passphrase_file)
        return self._opened


class _FederationDesk:
    """The federation's policies, at the coordinator."""

    def __init__(self, client: "Client", signer: str) -> None:
        self._client = client
        self._signer = signer

    @property
    def signer(self) -> str:
        return self._signer

    def listed(self) -> tuple[Card, ...]:
        return tuple(_viewed(item) for item in self._client.policies().policies)

    def propose(self, content: bytes, filename: str) -> Card:
        return _viewed(self._client.propose_policy(content, filename))

    def sign(self, card: Card) -> Card:
        return _viewed(self._client.sign_policy(card.content))

    def revoke(self, card: Card, reason: str) -> Card:
        return _viewed(self._client.revoke_policy(card.digest, reason, now()))

    def history(self, name: str | None) -> tuple[Step, ...]:
        return tuple(
            Step(
                seq=item.seq,
                time=datetime.fromisoformat(item.time),
                what=item.what,
                who=item.who,
                policy=item.policy,
                version=item.version,
                note=item.note,
            )
            for item in self._client.policy_history(name or "").events
        )

    def impact(self, content: bytes, filename: str) -> tuple[Changed, ...]:
        return tuple(
            Changed(
                job=item.job,
                name=item.name,
                decided_at=datetime.fromisoformat(item.decided_at),
                before=item.before,
                after=item.after,
                reasons=tuple((reason.clause, reason.sentence) for reason in item.reasons),
            )
            for item in self._client.policy_impact(content, filename).jobs
        )


def _card(stored: "StoredPolicy") -> Card:
    return Card(
        digest=stored.digest,
        document=stored.document,
        content=stored.content,
        state=stored.state,
        proposer=stored.proposer,
        proposed_at=stored.proposed_at,
        signers=stored.signers,
        signatures_missing=stored.signatures_missing,
        in_force_at=stored.in_force_at,
        ended_at=stored.ended_at,
        reason=stored.reason,
    )


def _viewed(view: "pb.PolicyView") -> Card:
    """A policy as the coordinator sent it; its digest is computed here, not believed."""
    from fedseal_crypto.digests import sha256_hex
    from fedseal_governance.policy import PolicyState, load_policy

    content = view.content
    return Card(
        digest=sha256_hex(content),
        document=load_policy(content, "the coordinator's policy"),
        content=content,
        state=PolicyState(view.state),
        proposer=view.proposer,
        proposed_at=datetime.fromisoformat(view.proposed_at),
        signers=tuple(view.signers),
        signatures_missing=view.signatures_missing,
        in_force_at=_moment(view.in_force_at),
        ended_at=_moment(view.ended_at),
        reason=view.reason,
    )


def _moment(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
