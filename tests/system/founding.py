"""Founds a small federation in a folder: an authority, a coordinator, four hospitals, a data scientist.

Everything goes through the offices that a real federation uses (invitations, certificate requests, policies signed
by two officers, registered datasets, imported consents), only in one process and without a network in between.
"""

import os
import secrets
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fedseal.authority import applicant
from fedseal.authority.config import AuthorityConfig
from fedseal.authority.founding import NewFederation, found_federation
from fedseal.authority.office import Office
from fedseal.authority.views import Invitee
from fedseal.folders import PartyFolder
from fedseal.learning import load_dataset
from fedseal.local import LocalParty, open_party, open_person
from fedseal.profiles import dataset_facts
from fedseal_crypto.dsse import sign_document
from fedseal_crypto.secret import SecretBytes
from fedseal_governance.consent import import_consents
from fedseal_governance.datasets import load_schema, register
from fedseal_governance.policy import Owner, approve, propose
from fedseal_governance.policy.store import POLICY_TYPE
from fedseal_governance.vocabulary import PolicyLevel

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "heart-disease"
NODES = ("cleveland", "hungary", "switzerland", "va-long-beach")
PASSPHRASE = SecretBytes(b"correct horse battery staple")
ORGANISATION = "Heart Consortium"
DATASET = "heart-disease"
SCIENTIST = "ada"
OFFICERS = ("grace", "katherine")
CUSTODIAN = "data-trust"


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """Whom to enrol, and when the certificates begin and end."""

    kind: str
    name: str
    roles: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    at: datetime | None = None


def utc_now() -> datetime:
    return datetime.now(UTC)


def found(folder: Path, *, federation: str = "heart") -> None:
    """Fill the empty ``folder`` with one sub-folder a party."""
    found_authority(folder, federation=federation)
    enrol(folder, Enrolment(kind="coordinator", name="coordinator", hosts=("localhost",)))
    enrol(folder, Enrolment(kind="person", name=SCIENTIST, roles=("data_scientist",)))
    for officer in OFFICERS:
        enrol(folder, Enrolment(kind="person", name=officer, roles=("compliance_officer",)))
    for node in NODES:
        enrol(folder, Enrolment(kind="node", name=node))
        prepare_node(folder, node)
    enrol(folder, Enrolment(kind="custodian", name=CUSTODIAN))
    with open_party(folder / CUSTODIAN) as party:
        approve_policy(party, policy_for("custodian"), folder)


def found_authority(folder: Path, *, federation: str, at: datetime | None = None) -> None:
    """Only the authority, founded now or at ``at``."""
    folder.mkdir(parents=True, exist_ok=True)
    config = AuthorityConfig(address="127.0.0.1:7400", listen="127.0.0.1:7400", coordinator="127.0.0.1:7443")
    new = NewFederation(name=federation, organisation=ORGANISATION, config=config)
    found_federation(folder / "authority", new, passphrase=PASSPHRASE, now=at or utc_now(), entropy=os.urandom)


def enrol(folder: Path, enrolment: Enrolment) -> PartyFolder:
    """Invite a party and exchange its requests for certificates."""
    at = enrolment.at or utc_now()
    passphrase = PASSPHRASE if enrolment.kind == "person" else None
    with closing(Office.open(folder / "authority")) as locked, closing(locked.unlock(PASSPHRASE)) as office:
        invitee = Invitee.parse(
            kind=enrolment.kind,
            name=enrolment.name,
            organisation=ORGANISATION,
            roles=enrolment.roles,
            hosts=enrolment.hosts,
        )
        invitation = office.invite(invitee, token=secrets.token_bytes(32), hours=None, now=at)
        target = folder / enrolment.name
        pending = applicant.begin(invitation, target, passphrase=passphrase, now=at, entropy=os.urandom)
        return applicant.enrol(pending, target, exchange=lambda sent: office.issue(sent, now=at), now=at)


def revoke(folder: Path, label: str) -> bytes:
    """Revoke a party's certificates; returns the new list, which nobody has received yet."""
    with closing(Office.open(folder / "authority")) as locked, closing(locked.unlock(PASSPHRASE)) as office:
        office.revoke(label, reason="key_compromise", now=utc_now())
        return office.revocations_pem()


def fresh_revocations(folder: Path) -> bytes:
    """A new revocation list with the same entries."""
    with closing(Office.open(folder / "authority")) as locked, closing(locked.unlock(PASSPHRASE)) as office:
        office.renew_revocations(now=utc_now())
        return office.revocations_pem()


def revocations(folder: Path) -> bytes:
    """The revocation list that a party holds."""
    return PartyFolder.load(folder).revocations_pem()


def prepare_node(folder: Path, node: str, *, data: Path | None = None, officers: Path | None = None) -> None:
    """Register the node's dataset, import its consents, and have its policy approved by two officers."""
    with open_party(folder / node) as party:
        register_dataset(party, data or EXAMPLES / f"{node}.csv")
        consents = EXAMPLES / "consents" / f"{node}.csv"
        party.run("consent.import", lambda act: import_consents(act, party.register(DATASET), consents), now=utc_now())
        approve_policy(party, policy_for(node), officers or folder)


def register_dataset(party: LocalParty, data: Path) -> None:
    """Register the CSV file ``data`` as the node's dataset."""
    content = (EXAMPLES / "schema.yaml").read_bytes()
    loaded = load_dataset(data, load_schema(content, "schema.yaml"))
    facts = dataset_facts(loaded, content)
    party.run(
        "dataset.register",
        lambda act: register(act, facts, filename="schema.yaml", source=str(data)),
        now=utc_now(),
    )


def policy_for(node: str, replacements: Mapping[str, str] | None = None) -> bytes:
    """The example policy of that hospital, owned by the one organisation of this federation."""
    lines = (EXAMPLES / f"policy-{node}.yaml").read_text().splitlines()
    text = "\n".join(f"owner: {ORGANISATION}" if line.startswith("owner:") else line for line in lines) + "\n"
    for old, new in (replacements or {}).items():
        if old not in text:
            message = f"the policy of {node} does not contain {old!r}"
            raise ValueError(message)
        text = text.replace(old, new)
    return text.encode()


def approve_policy(party: LocalParty, content: bytes, people: Path) -> None:
    """Propose a policy and let both officers sign it."""
    officers = [open_person(people / officer, PASSPHRASE, now=utc_now()) for officer in OFFICERS]
    stored = party.run(
        "policy.propose",
        lambda act: propose(
            act,
            content,
            filename="policy.yaml",
            owner=Owner(level=PolicyLevel.NODE, name=ORGANISATION),
            proposer=officers[0].member,
        ),
        now=utc_now(),
        person=officers[0],
    )
    for officer in officers:
        signature = sign_document(POLICY_TYPE, content, key=officer.key, certificate_pem=officer.certificate_pem)
        party.run(
            "policy.approve",
            lambda act, signature=signature: approve(act, stored.digest, signature, party.trust(utc_now())),  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            now=utc_now(),
            person=officer,
        )
