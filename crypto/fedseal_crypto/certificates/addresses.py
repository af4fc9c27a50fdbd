"""The addresses by which certificates name parties and roles.

`fedseal://<federation>/<kind>/<name>` names a party; `fedseal://<federation>/role/<role>` grants a role to a
person. Rules: one spelling only (no escapes, no port, no query), so that equal text means equal party.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from fedseal_crypto.errors import PeerError
from fedseal_crypto.identity import (
    FederationName,
    PartyKind,
    PartyName,
    Role,
    parse_federation_name,
    parse_party_name,
)

_SCHEME = "fedseal://"
_ROLE = "role"
_SHOWN = 120  # characters of a wrong address that a message repeats


class AddressInvalid(PeerError):
    """A text that should be a party's address or a role is something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartyAddress:
    """Who a party is: unique within all federations with distinct roots.

    Raises:
        NameInvalid: A name breaks the rule of `fedseal_crypto.identity`.
    """

    federation: FederationName
    kind: PartyKind
    name: PartyName

    def __post_init__(self) -> None:
        parse_federation_name(self.federation)
        parse_party_name(self.name)

    @property
    def uri(self) -> str:
        """The address as certificates carry it."""
        return f"{_SCHEME}{self.federation}/{self.kind}/{self.name}"

    @property
    def label(self) -> str:
        """The short form for people and logs: `node/cleveland`."""
        return f"{self.kind}/{self.name}"


def role_uri(federation: FederationName, role: Role) -> str:
    """The address that grants `role` in `federation`."""
    return f"{_SCHEME}{federation}/{_ROLE}/{role}"


def parse_addresses(uris: Iterable[str]) -> tuple[PartyAddress, frozenset[Role]]:
    """Read all URIs of one certificate.

    Raises:
        AddressInvalid: Not exactly one party, a role of another federation, a role twice or for something
            other than a person, or any URI that is neither.
        NameInvalid: A name breaks the rule of `fedseal_crypto.identity`.
    """
    parties: list[PartyAddress] = []
    grants: list[tuple[str, Role]] = []
    for uri in uris:
        federation, kind, name = _parts(uri)
        if kind == _ROLE:
            grants.append((federation, _role(name)))
        else:
            parties.append(_party(federation, kind, name))
    if len(parties) != 1:
        raise AddressInvalid(f"a certificate names exactly one party, and this one names {len(parties)}.")
    return parties[0], _granted(parties[0], grants)


def _granted(party: PartyAddress, grants: list[tuple[str, Role]]) -> frozenset[Role]:
    roles = frozenset(role for _, role in grants)
    if len(roles) != len(grants) or any(federation != party.federation for federation, _ in grants):
        raise AddressInvalid(f"the roles of {party.label} repeat or belong to another federation.")
    if roles and party.kind is not PartyKind.PERSON:
        raise AddressInvalid(f"{party.label} is not a person and cannot hold a role.")
    return roles


def _parts(uri: str) -> tuple[str, str, str]:
    pieces = uri.removeprefix(_SCHEME).split("/")
    if not uri.startswith(_SCHEME) or len(pieces) != 3:
        raise AddressInvalid(f"{uri[:_SHOWN]!r} is not an address of the form {_SCHEME}FEDERATION/KIND/NAME.")
    return pieces[0], pieces[1], pieces[2]


def _party(federation: str, kind: str, name: str) -> PartyAddress:
    try:
        known_kind = PartyKind(kind)
    except ValueError:
        raise AddressInvalid(f"{kind[:_SHOWN]!r} is not a kind of party; use one of {', '.join(PartyKind)}.") from None
    return PartyAddress(federation=parse_federation_name(federation), kind=known_kind, name=parse_party_name(name))


def _role(name: str) -> Role:
    try:
        return Role(name)
    except ValueError:
        raise AddressInvalid(f"{name[:_SHOWN]!r} is not a role; use one of {', '.join(Role)}.") from None
