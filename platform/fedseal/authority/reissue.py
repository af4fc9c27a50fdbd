"""The authority's side of a rotation: new certificates for a party that proves itself with its present key.

What must hold, in the order of ``reissue``:

    (1) the request is signed by the party itself, with a certificate that is in force and not revoked
    (2) both signing requests prove possession of suitable keys
    (3) a request that was answered before gets the same certificates again
    (4) it is signed with the party's newest certificate: an older key cannot make a new one
    (5) both keys are new: nobody was ever certified for them

The old certificates stay in force until they end, so that no running process is shut out; the authority retires them
earlier on request. Names, roles, organisation and hosts are those of the present certificate.
"""

from datetime import datetime, timedelta

from cryptography import x509

from fedseal.authority import register
from fedseal.authority.errors import RequestRefused
from fedseal.authority.exchange import Answer
from fedseal.authority.issuing import certificate_records, public_key_digest, request_digests
from fedseal.authority.names import SERVICE_SUFFIX, certified_hosts
from fedseal.authority.register import CertificateRecord, CertificateState, RegisteredParty
from fedseal.authority.rotation import SignedRotation, read_rotation
from fedseal_crypto.certificates import Authority, CertificateUse, IssuedCertificates, Subject
from fedseal_crypto.identity import parse_party_name
from fedseal_governance.acts import Act
from fedseal_governance.members import KeyDigests


def reissue(act: Act, root: Authority, request: bytes, *, lifetime: timedelta) -> Answer:
    """Exchange a rotation request for certificates; the numbered list is at the top of this module.

    Raises:
        RequestRefused, InvitationUnreadable, CryptoError: With a sentence for the first thing wrong.
    """
    newest_list = register.newest_list(act.session)
    revocations = root.trust_root.load_revocations(newest_list, now=act.now)
    signed = read_rotation(request, root=root.trust_root, revocations=revocations, now=act.now)  # (1)
    keys = request_digests(signed.rotation.signing_requests)  # (2)
    label = signed.signer.label
    held = register.certificates(act.session, kind=signed.signer.kind, name=str(signed.signer.name))
    newest = newest_pair(held)
    if newest is None:
        raise RequestRefused(f"{label} has no certificates here; ask for an invitation.")
    if _keys_of(newest) == keys and _in_force(newest, act.now):  # (3)
        return _answer(newest, newest_list)
    if newest[1].serial != signed.signer.serial:  # (4)
        raise RequestRefused(
            f"{label} has newer certificates than the one that signed this request; ask with the newest, and if "
            "nobody there made newer ones, tell the authority's administrator at once."
        )
    _require_new(act, keys, label)  # (5)
    issued = root.issue(signed.rotation.signing_requests, _subject(signed, newest[0]), now=act.now, lifetime=lifetime)
    records = _records(issued, newest[0].party, act.now)
    register.add_certificates(act.session, records)
    act.note(
        "certificate.rotated",
        label,
        serials=[f"{record.serial:x}" for record in records],
        replaces=[f"{record.serial:x}" for record in newest],
        until=f"{issued.not_after:%Y-%m-%dT%H:%M:%SZ}",
    )
    return _answer(records, newest_list)


def newest_pair(
    records: tuple[CertificateRecord, ...],
) -> tuple[CertificateRecord, CertificateRecord] | None:
    """The TLS and the identity certificate that a party was given last; None if it has none."""
    by_use = {record.use: record for record in sorted(records, key=lambda record: record.issued_at)}
    if len(by_use) != len(CertificateUse):
        return None
    return by_use[CertificateUse.TLS], by_use[CertificateUse.IDENTITY]


def _records(
    issued: IssuedCertificates, party: RegisteredParty, now: datetime
) -> tuple[CertificateRecord, CertificateRecord]:
    return certificate_records(issued, party, token_digest=None, now=now)


def _keys_of(pair: tuple[CertificateRecord, CertificateRecord]) -> KeyDigests:
    return KeyDigests(tls=_key_of(pair[0]), identity=_key_of(pair[1]))


def _key_of(record: CertificateRecord) -> str:
    return public_key_digest(x509.load_pem_x509_certificate(record.pem))


def _in_force(pair: tuple[CertificateRecord, CertificateRecord], now: datetime) -> bool:
    return all(record.state(now) is CertificateState.IN_FORCE for record in pair)


def _require_new(act: Act, keys: KeyDigests, label: str) -> None:
    wanted = {keys.tls, keys.identity}
    if any(_key_of(record) in wanted for record in register.certificates(act.session)):
        raise RequestRefused(f"the request of {label} names a key that was certified before; make new keys.")


def _subject(signed: SignedRotation, present: CertificateRecord) -> Subject:
    member = signed.signer
    hosts = _hosts(present)
    return Subject(
        federation=member.federation,
        kind=member.kind,
        name=parse_party_name(present.party.name),
        organisation=present.party.organisation,
        roles=frozenset(present.party.roles),
        hosts=certified_hosts(member.federation, member.kind, present.party.name, hosts),
    )


def _hosts(record: CertificateRecord) -> tuple[str, ...]:
    """The hosts of the present certificate, without the name that the authority itself assigns."""
    certificate = x509.load_pem_x509_certificate(record.pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    return tuple(host for host in found if not host.endswith(SERVICE_SUFFIX))


def _answer(pair: tuple[CertificateRecord, CertificateRecord], revocations_pem: bytes) -> Answer:
    tls, identity = (record.pem.decode("ascii") for record in pair)
    return Answer(tls_certificate=tls, identity_certificate=identity, revocations=revocations_pem.decode("ascii"))


__all__ = ["newest_pair", "reissue"]
