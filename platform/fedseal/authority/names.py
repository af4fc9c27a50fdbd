"""Service names: how a TLS client checks *who* answers, whatever the network address is.

gRPC compares one DNS name with the server's certificate. Addresses change (a new machine, a port forward, a
container), parties do not; therefore the authority adds to each server's certificate a name that follows from
the party alone, and clients expect that name through ``grpc.ssl_target_name_override``. Nobody can ask for
such a name in an invitation. It is a digest because party names may hold characters that DNS names may not.
"""

from fedseal.authority.errors import RequestRefused
from fedseal_crypto.certificates import PartyAddress, Subject
from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.identity import (
    FederationName,
    PartyKind,
    PartyName,
    parse_federation_name,
    parse_party_name,
)

AUTHORITY_NAME = PartyName("authority")  # the party that serves enrolments; the root itself is authority/root
RESERVED_NAMES = frozenset({"authority", "root"})
SERVICE_SUFFIX = ".fedseal.internal"  # `internal` is reserved for private use by ICANN (resolution 2024.07.29.06)
SERVING_KINDS = frozenset({PartyKind.AUTHORITY, PartyKind.COORDINATOR, PartyKind.CUSTODIAN})
_DIGEST_CHARACTERS = 32  # 128 bits: two parties never share a name


def service_name(federation: str, kind: PartyKind, name: str) -> str:
    """The DNS name that only this party's TLS certificate carries.

    Raises:
        NameInvalid: A name breaks the rule of ``fedseal_crypto.identity``.
    """
    address = PartyAddress(federation=parse_federation_name(federation), kind=kind, name=parse_party_name(name))
    return f"{kind.value}-{sha256_hex(address.uri.encode())[:_DIGEST_CHARACTERS]}{SERVICE_SUFFIX}"


def certified_hosts(federation: str, kind: PartyKind, name: str, hosts: tuple[str, ...]) -> tuple[str, ...]:
    """The hosts of a certificate: those asked for, and for servers the service name.

    Raises:
        RequestRefused: A host lies in the reserved domain.
    """
    for host in hosts:
        if host.endswith(SERVICE_SUFFIX):
            raise RequestRefused(f"{host} lies in a domain that only the authority assigns; leave it out.")
    if kind not in SERVING_KINDS:
        return hosts
    return (*hosts, service_name(federation, kind, name))


def authority_subject(federation: FederationName, organisation: str, hosts: tuple[str, ...]) -> Subject:
    """What the certificates of the enrolment service say."""
    return Subject(
        federation=federation,
        kind=PartyKind.AUTHORITY,
        name=AUTHORITY_NAME,
        organisation=organisation,
        hosts=certified_hosts(federation, PartyKind.AUTHORITY, AUTHORITY_NAME, hosts),
    )
