"""What the authority certifies: a party, its organisation, its roles, and where its server can be reached.

Rules it keeps: a subject that exists is a valid one; nothing of it comes from the request.
"""

import ipaddress
import re
from dataclasses import dataclass, field

from cryptography import x509

from fedseal_crypto.certificates.addresses import PartyAddress, role_uri
from fedseal_crypto.certificates.errors import SubjectInvalid
from fedseal_crypto.identity import FederationName, PartyKind, PartyName, Role

MAX_ORGANISATION = 64
"""Characters; the upper bound of an organisation's name in RFC 5280, appendix A."""

MAX_HOSTS = 32
"""Names and addresses of one server; more would be a mistake in a configuration file."""

_DNS_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A party to certify.

    Attributes:
        organisation: Its legal name, 1 to 64 printable characters.
        roles: Only for persons.
        hosts: DNS names (lower case) and IP addresses under which it serves; empty for clients.

    Raises:
        SubjectInvalid: A field breaks these rules.
        NameInvalid: A name breaks the rule of `fedseal_crypto.identity`.
    """

    federation: FederationName
    kind: PartyKind
    name: PartyName
    organisation: str
    roles: frozenset[Role] = frozenset()
    hosts: tuple[str, ...] = ()
    address: PartyAddress = field(init=False, repr=False)

    def __post_init__(self) -> None:
        address = PartyAddress(federation=self.federation, kind=self.kind, name=self.name)
        object.__setattr__(self, "address", address)
        check_organisation(self.organisation)
        if self.roles and self.kind is not PartyKind.PERSON:
            raise SubjectInvalid(f"{address.label} is not a person and cannot hold a role.")
        if len(self.hosts) > MAX_HOSTS or len(set(self.hosts)) != len(self.hosts):
            raise SubjectInvalid(f"the hosts of {address.label} repeat or are more than {MAX_HOSTS}.")
        for host in self.hosts:
            host_name(host)

    def alternative_names(self, *, with_hosts: bool) -> list[x509.GeneralName]:
        """The certificate's SAN entries: the party, its roles in alphabetic order, then its hosts."""
        uris = [self.address.uri, *(role_uri(self.federation, role) for role in sorted(self.roles))]
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        if with_hosts:
            names.extend(host_name(host) for host in self.hosts)
        return names


def check_organisation(text: str) -> None:
    """Refuse an organisation's name that a certificate or a log line cannot show.

    Raises:
        SubjectInvalid: It is empty, longer than 64 characters, padded, or not printable.
    """
    if not 0 < len(text) <= MAX_ORGANISATION or not text.isprintable() or text != text.strip():
        raise SubjectInvalid(
            f"{text[: MAX_ORGANISATION + 8]!r} is not an organisation's name; "
            f"use 1 to {MAX_ORGANISATION} printable characters."
        )


def host_name(host: str) -> x509.GeneralName:
    """The SAN entry of a DNS name or IP address.

    Raises:
        SubjectInvalid: It is neither; wildcards are not accepted.
    """
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if len(host) > 253 or _DNS_NAME.fullmatch(host) is None:
            raise SubjectInvalid(f"{host[:80]!r} is neither an IP address nor a lower-case DNS name.") from None
        return x509.DNSName(host)
