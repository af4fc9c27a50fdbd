"""From nothing to a federation: authority, enrolment over the network, datasets, policies, consents."""

import csv
import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from fedseal.authority import applicant, client
from fedseal.authority.config import AuthorityConfig
from fedseal.authority.founding import NewFederation, found_federation
from fedseal.authority.office import Office
from fedseal.authority.views import Invitee
from fedseal.files import write_atomic
from fedseal.folders import PartyFolder
from fedseal.learning import load_dataset
from fedseal.local import LocalParty, Person, create_database, open_party, open_person
from fedseal.profiles import dataset_facts
from fedseal_cli.demonstration.processes import Services, is_listening
from fedseal_cli.demonstration.setting import (
    CONSORTIUM,
    CUSTODIAN_ORGANISATION,
    DATASET,
    FEDERATION,
    HOSPITALS,
    Setting,
)
from fedseal_crypto.dsse import sign_document
from fedseal_crypto.identity import PartyKind
from fedseal_crypto.secret import SecretBytes
from fedseal_governance.consent import import_consents, withdraw
from fedseal_governance.datasets import load_schema, register
from fedseal_governance.policy import Owner, approve, propose
from fedseal_governance.policy.store import POLICY_TYPE
from fedseal_governance.vocabulary import PolicyLevel

SCIENTIST = "ada"
ADMINISTRATOR = "grace"
AUDITOR = "judith"

Tell = Callable[[str], None]


def now() -> datetime:
    """The present."""
    return datetime.now(UTC)


def found(setting: Setting, services: Services, tell: Tell) -> SecretBytes:
    """Found the authority, start its enrolment service, and enrol every party over it.

    Returns:
        The passphrase of the demonstration's people.
    """
    passphrase = SecretBytes(secrets.token_urlsafe(18).encode())
    write_atomic(setting.passphrase_file, passphrase.reveal(), private=True)
    authority = setting.party("authority")
    address = f"127.0.0.1:{setting.authority_port}"
    coordinator = f"127.0.0.1:{setting.coordinator_port}"
    config = AuthorityConfig(address=address, listen=address, coordinator=coordinator)
    new = NewFederation(name=FEDERATION, organisation=CONSORTIUM, config=config)
    folder = found_federation(authority, new, passphrase=passphrase, now=now(), entropy=os.urandom)
    tell(f"authority founded, root fingerprint {folder.trust_root().fingerprint[:16]}…")
    services.start(
        "authority",
        "federation",
        "serve",
        "--authority",
        str(authority),
        "--passphrase-file",
        str(setting.passphrase_file),
    )
    services.wait_until(lambda: is_listening(setting.authority_port), what="the start of the enrolment service")
    enrolment = Enrolment(setting, passphrase)
    enrolment.machine("coordinator", "coordinator", CONSORTIUM, hosts=("localhost", "127.0.0.1"))
    for name, organisation in HOSPITALS.items():
        enrolment.machine("node", name, organisation)
    if setting.custodian is not None:
        enrolment.machine("custodian", setting.custodian, CUSTODIAN_ORGANISATION)
        for number in (1, 2):
            enrolment.person(officer(setting.custodian, number), CUSTODIAN_ORGANISATION, "compliance_officer")
    enrolment.person(ADMINISTRATOR, CONSORTIUM, "administrator")
    enrolment.person(SCIENTIST, CONSORTIUM, "data_scientist")
    enrolment.person(AUDITOR, CONSORTIUM, "auditor")
    for name, organisation in HOSPITALS.items():
        for number in (1, 2):
            enrolment.person(officer(name, number), organisation, "compliance_officer")
    enrolment.close()
    tell(f"{enrolment.count} parties enrolled with single-use tokens over TLS")
    services.stop("authority")
    tell("the authority is offline from here on")
    return passphrase


def officer(hospital: str, number: int) -> str:
    """Name of a hospital's compliance officer."""
    return f"{hospital}-officer-{number}"


class Enrolment:
    """Invites parties as the administrator and enrols them as themselves."""

    def __init__(self, setting: Setting, passphrase: SecretBytes) -> None:
        self._setting = setting
        self._passphrase = passphrase
        self._office = Office.open(setting.party("authority"))
        self.count = 0

    def machine(self, kind: str, name: str, organisation: str, *, hosts: tuple[str, ...] = ()) -> None:
        """Enrol a coordinator or node and give it an empty database."""
        invitee = Invitee.parse(kind=kind, name=name, organisation=organisation, roles=(), hosts=hosts)
        folder = self._enrol(invitee, name, None)
        if not folder.database_path.exists():
            create_database(folder.database_path)

    def person(self, name: str, organisation: str, role: str) -> None:
        """Enrol a person with a passphrase-protected key."""
        invitee = Invitee.parse(kind="person", name=name, organisation=organisation, roles=(role,), hosts=())
        self._enrol(invitee, f"people/{name}", self._passphrase)

    def close(self) -> None:
        """Close the administrator's view of the register."""
        self._office.close()

    def _enrol(self, invitee: Invitee, where: str, passphrase: SecretBytes | None) -> PartyFolder:
        target = self._setting.folder / where
        target.parent.mkdir(exist_ok=True)
        invitation = self._office.invite(invitee, token=secrets.token_bytes(32), hours=None, now=now())
        pending = applicant.begin(invitation, target, passphrase=passphrase, now=now(), entropy=os.urandom)
        self.count += 1
        return applicant.enrol(pending, target, exchange=lambda sent: client.exchange(invitation, sent), now=now())


def furnish(setting: Setting, passphrase: SecretBytes, tell: Tell) -> None:
    """At each hospital: register the dataset, import consents, have the policy approved by two officers."""
    for hospital in HOSPITALS:
        with open_party(setting.party(hospital), PartyKind.NODE) as node:
            rows = _register(setting, node, hospital)
            imported, withdrawn = _consents(setting, node, hospital)
            officers = [
                open_person(setting.person(officer(hospital, number)), passphrase, now=now()) for number in (1, 2)
            ]
            _approve(node, setting.example(f"policy-{hospital}.yaml"), HOSPITALS[hospital], officers)
        tell(f"{hospital}: {rows} records, {imported} consents, {withdrawn} withdrawn, policy signed by two officers")
    if setting.custodian is not None:
        with open_party(setting.party(setting.custodian), PartyKind.CUSTODIAN) as custodian:
            officers = [
                open_person(setting.person(officer(setting.custodian, number)), passphrase, now=now())
                for number in (1, 2)
            ]
            _approve(custodian, setting.example("policy-custodian.yaml"), CUSTODIAN_ORGANISATION, officers)
        tell(f"{setting.custodian}: the custodian's own policy signed by two officers")


def _register(setting: Setting, node: LocalParty, hospital: str) -> int:
    schema_file, data_file = setting.example("schema.yaml"), setting.example(f"{hospital}.csv")
    schema = schema_file.read_bytes()
    data = load_dataset(data_file, load_schema(schema, str(schema_file)))
    facts = dataset_facts(data, schema)
    node.run(
        "dataset.register",
        lambda act: register(act, facts, filename=str(schema_file), source=str(data_file)),
        now=now(),
    )
    return data.row_count


def _consents(setting: Setting, node: LocalParty, hospital: str) -> tuple[int, int]:
    """Import the generated consents and record the withdrawals; one patient stays for a withdrawal later."""
    file = setting.example("consents") / f"{hospital}.csv"
    report = node.run("consent.import", lambda act: import_consents(act, node.register(DATASET), file), now=now())
    pseudonyms = withdrawn_before(setting, hospital)
    for pseudonym in pseudonyms:
        withdraw_consent(node, pseudonym)
    return report.added, len(pseudonyms)


def withdrawn_before(setting: Setting, hospital: str) -> list[str]:
    """Patients who withdraw before the job starts."""
    with (setting.example("consents") / "withdrawn.csv").open(newline="") as file:
        return [row["pseudonym"] for row in csv.DictReader(file) if row["hospital"] == hospital]


def withdraw_consent(node: LocalParty, pseudonym: str) -> None:
    """Record a withdrawal at a node, as its data protection officer would."""
    node.run("consent.withdraw", lambda act: withdraw(act, node.register(DATASET), pseudonym), now=now())


def _approve(node: LocalParty, file: Path, organisation: str, officers: list[Person]) -> None:
    content = file.read_bytes()
    stored = node.run(
        "policy.propose",
        lambda act: propose(
            act,
            content,
            filename=str(file),
            owner=Owner(level=PolicyLevel.NODE, name=organisation),
            proposer=officers[0].member,
        ),
        now=now(),
        person=officers[0],
    )
    for person in officers:
        signature = sign_document(POLICY_TYPE, content, key=person.key, certificate_pem=person.certificate_pem)
        trust = node.trust(now())
        node.run(
            "policy.approve",
            lambda act, signature=signature, trust=trust: approve(act, stored.digest, signature, trust),  # type: ignore[misc]  # bound per loop
            now=now(),
            person=person,
        )
