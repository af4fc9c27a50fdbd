"""Governance commands at a node, killed before each SQL statement: all of the change is there afterwards, or none."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from fedseal.learning import content_digest, load_dataset
from fedseal.local import LocalParty, Person, create_database
from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.dsse import sign_document
from fedseal_governance.consent import import_consents, withdraw
from fedseal_governance.database import Database
from fedseal_governance.datasets import DatasetFacts, load_schema, register
from fedseal_governance.policy import Owner, approve, propose
from fedseal_governance.policy.store import POLICY_TYPE
from fedseal_governance.vocabulary import PolicyLevel
from tests.unit.killing import assert_all_or_nothing
from tests.unit.node.papers import DATASET, SCHEMA, consents_of, policy_with, pseudonyms, table_of
from tests.unit.node.parties import NOW, OFFICERS, ORGANISATION, Consortium

Step = Callable[[LocalParty], object]

KILLED = {"the last signature", "dataset.register", "consent.import", "consent.withdraw"}
"""The others differ from these in nothing that could matter here, and each trial costs a process."""


def steps(consortium: Consortium, folder: Path) -> dict[str, Step]:
    """A node's life up to the first withdrawal, command by command."""
    content, digest = policy_with(), sha256_hex(policy_with())
    officers = [
        Person(member=made.member, key=made.key, certificate_pem=made.identity_pem)
        for made in (consortium.parties[name] for name in OFFICERS)
    ]
    (folder / "table.csv").write_bytes(table_of("basel"))
    (folder / "consents.csv").write_bytes(consents_of("basel"))
    table = load_dataset(folder / "table.csv", load_schema(SCHEMA, "schema.yaml"))
    facts = DatasetFacts(schema_content=SCHEMA, row_count=table.row_count, content_digest=content_digest(table))

    def sign(officer: Person) -> Step:
        signature = sign_document(POLICY_TYPE, content, key=officer.key, certificate_pem=officer.certificate_pem)
        return lambda node: node.run(
            "policy.approve", lambda act: approve(act, digest, signature, node.trust(NOW)), now=NOW, person=officer
        )

    return {
        "policy.propose": lambda node: node.run(
            "policy.propose",
            lambda act: propose(
                act,
                content,
                filename="policy.yaml",
                owner=Owner(level=PolicyLevel.NODE, name=ORGANISATION),
                proposer=officers[0].member,
            ),
            now=NOW,
            person=officers[0],
        ),
        "the first signature": sign(officers[0]),
        "the last signature": sign(officers[1]),
        "dataset.register": lambda node: node.run(
            "dataset.register", lambda act: register(act, facts, filename="schema.yaml", source="table.csv"), now=NOW
        ),
        "consent.import": lambda node: node.run(
            "consent.import", lambda act: import_consents(act, node.register(DATASET), folder / "consents.csv"), now=NOW
        ),
        "consent.withdraw": lambda node: node.run(
            "consent.withdraw", lambda act: withdraw(act, node.register(DATASET), pseudonyms("basel")[0]), now=NOW
        ),
    }


def test_each_command(tmp_path: Path, consortium: Consortium) -> None:
    folder = consortium.make_folder(tmp_path / "basel", "basel")
    create_database(folder.database_path)
    for name, step in steps(consortium, tmp_path).items():

        def work(database: Database, step: Step = step) -> None:
            step(LocalParty(folder=folder, database=database))

        if name in KILLED:
            assert assert_all_or_nothing(folder.database_path, work, origin="fedseal/hearts/basel") >= 6, name
        else:
            with closing(Database(folder.database_url)) as database:
                work(database)
