"""What the authority's records look like from outside: rows of lists, and what an invitation asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from fedseal.authority.errors import InviteeInvalid
from fedseal.authority.register import RegisteredParty
from fedseal_crypto.identity import PartyKind, Role
from fedseal_governance.documents import suggestion
from fedseal_governance.four_eyes import require_compatible

INVITED_KINDS = (PartyKind.NODE, PartyKind.COORDINATOR, PartyKind.CUSTODIAN, PartyKind.PERSON)


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitee(RegisteredParty):
    """A party to invite."""

    @classmethod
    def parse(cls, *, kind: str, name: str, organisation: str, roles: Sequence[str], hosts: Sequence[str]) -> Self:
        """Read what a person typed.

        Raises:
            InviteeInvalid: An unknown kind or role, a person without a role, or a role for a machine.
            RefusedError: One person would hold both sides of a four-eyes rule.
        """
        known = [str(item) for item in INVITED_KINDS]
        if kind not in known:
            raise InviteeInvalid(f"{kind!r} is not a kind of party; {_instead(kind, known)}")
        words = [str(role) for role in Role]
        for role in roles:
            if role not in words:
                raise InviteeInvalid(f"{role!r} is not a role; {_instead(role, words)}")
        if roles:
            require_compatible(name, map(Role, roles))
        if kind == PartyKind.PERSON and not roles:
            raise InviteeInvalid(f"{name} needs at least one --role: {', '.join(words)}.")
        if kind != PartyKind.PERSON and roles:
            raise InviteeInvalid(f"only people hold roles; leave --role out for a {kind}.")
        return cls(
            kind=PartyKind(kind),
            name=name,
            organisation=organisation,
            roles=tuple(sorted({Role(role) for role in roles})),
            hosts=tuple(dict.fromkeys(hosts)),
        )


def parse_label(label: str) -> tuple[PartyKind, str]:
    """Kind and name of ``"node/cleveland"``.

    Raises:
        InviteeInvalid: It has another form or an unknown kind.
    """
    kind, slash, name = label.partition("/")
    known = [str(item) for item in PartyKind]
    if not slash or not name:
        raise InviteeInvalid(f"{label!r} does not name a party; write KIND/NAME, such as node/cleveland.")
    if kind not in known:
        raise InviteeInvalid(f"{kind!r} is not a kind of party; {_instead(kind, known)}")
    return PartyKind(kind), name


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationView:
    """One invitation in a list."""

    label: str
    organisation: str
    roles: tuple[str, ...]
    state: str  # open, used, expired, withdrawn
    expires: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateView:
    """One issued certificate in a list."""

    kind: PartyKind
    name: str
    organisation: str
    roles: tuple[str, ...]
    use: str  # tls, identity
    serial: int
    fingerprint: str
    not_before: datetime
    not_after: datetime
    state: str  # in force, expired, revoked

    @property
    def label(self) -> str:
        """The party for a sentence: ``node/cleveland``."""
        return f"{self.kind.value}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A federation on one screen."""

    federation: str
    organisation: str
    root_fingerprint: str
    root_until: datetime
    address: str
    coordinator: str | None
    members: int
    open_invitations: int
    revocation_number: int
    revocation_due: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """What a revocation did."""

    label: str
    certificates: int
    number: int  # of the new list


def _instead(word: str, known: list[str]) -> str:
    near = suggestion(word, known)
    return f"did you mean {near!r}?" if near else f"use one of {', '.join(known)}."
