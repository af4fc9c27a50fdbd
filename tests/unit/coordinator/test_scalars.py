"""Whole jobs that judge single contributions: coordinator, nodes and custodian by their own code, and one that lies."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

import fedseal.methods.registry
import fedseal.node.sealed
from fedseal.coordinator.custody_events import ScalarsDelivered
from fedseal.coordinator.intake import ContributionArrived, Event
from fedseal.custodian.config import CustodianSettings
from fedseal.documents import sign_job
from fedseal.learning import LocalData, NamedTensors, job_data
from fedseal.learning.plugins import load_plugin
from fedseal.methods import Plan
from fedseal.methods.averaging import LocalUpdate
from fedseal.methods.contract import DisclosureStatement, NodeContext, Quantity
from fedseal.methods.in_process import run_in_process
from fedseal.methods.judging import Judgement, Numbers, Scalar, ScalarsAsked
from fedseal.methods.screening import Screening
from fedseal.protection.scalars import ScalarRoll, own_scalars, sign_roll, sign_scalars
from fedseal.rounds import RoundAddress
from fedseal_crypto.dsse import SignedDocument
from fedseal_crypto.homomorphic import Operation, PublicContext, RealPlan, encrypt_reals
from fedseal_crypto.homomorphic._frames import HEADER_BYTES
from fedseal_crypto.identity import PartyKind
from fedseal_governance.datasets import load_schema
from fedseal_governance.jobs import load_job
from tests.unit.coordinator.members import Play, signed_policy
from tests.unit.coordinator.process import SETTINGS
from tests.unit.coordinator.real_nodes import RealMember
from tests.unit.coordinator.test_custodians import Scene, honest
from tests.unit.custodian.house import CUSTODIAN, House
from tests.unit.node.papers import SCHEMA, JobFile, policy_with, pseudonyms
from tests.unit.node.parties import NODES, SCIENTIST, Consortium, Enrolled
from tests.unit.node.site import SiteMaker

SITES = NODES[:4]
CHANGES = {
    "allowed: [masking]": "allowed: [homomorphic]",
    "[fedavg]": "[fedavg, screening, probing]",
    "coordinator_may_learn: SUM": "coordinator_may_learn: SCALARS",
}
RESPONSE = "response"


@dataclass(frozen=True, slots=True)
class Probing(Screening):
    """Screening that accepts everybody, and asks how alike a node's changes of two rounds in a row are."""

    name: ClassVar[str] = "probing"
    SCALARS: ClassVar[tuple[str, ...]] = (*Screening.SCALARS, RESPONSE)
    statement: ClassVar[DisclosureStatement] = replace(
        Screening.statement,
        quantities=(
            *Screening.statement.quantities,
            Quantity(name=RESPONSE, party="coordinator", description="its inner product with the change before"),
        ),
    )
    seen: ClassVar[list[tuple[int, dict[str, dict[str, float | None]]]]] = []
    trained: ClassVar[dict[tuple[str, int], float | None]] = {}

    def train(self, context: NodeContext) -> LocalUpdate:
        """Note which vector of the round before the node was given."""
        before = None if context.earlier is None else float(context.earlier @ context.earlier)
        self.trained[context.node, context.plan.round] = before
        return Screening.train(self, context)

    def scalars(self, plan: Plan, broadcast: NamedTensors) -> ScalarsAsked:
        """One number more from the second round on."""
        asked = Screening.scalars(self, plan, broadcast)
        more = (Scalar(name=RESPONSE, operation=Operation.INNER_PRODUCT),) if plan.round else ()
        return replace(asked, scalars=(*asked.scalars, *more), keep=True)

    def judge(self, plan: Plan, state: NamedTensors, numbers: Mapping[str, Numbers]) -> Judgement:
        """Accept everybody."""
        self.seen.append((plan.round, {name: dict(own) for name, own in numbers.items()}))
        return Judgement(accepted=frozenset(numbers), reasons={}, state=state)


@pytest.fixture
def probing(monkeypatch: pytest.MonkeyPatch) -> type[Probing]:
    """The method, installed."""

    def load(group: str, kind: str, name: str) -> object:
        return Probing if name == Probing.name else load_plugin(group, kind, name)

    monkeypatch.setattr(fedseal.methods.registry, "load_plugin", load)
    Probing.seen.clear()
    Probing.trained.clear()
    return Probing


def job_file(method: str, *, rounds: int = 2) -> bytes:
    text = JobFile(training_rounds=rounds, nodes=SITES, method=method).to_yaml()
    text = text.replace(b"learning_rate: 0.1, batch_size: 8", b"learning_rate: 1.0, batch_size: 2")
    text = text.replace(b"clip: 1.0", b"clip: 1.0, largest_norm: 2.0")
    text = text.replace(b"protection: masking", f"protection: homomorphic\ncustodian: {CUSTODIAN}".encode())
    return text.replace(b"disclosure: SUM", b"disclosure: SCALARS")


class Federation(Scene):
    """Everybody, by their own code."""

    def submit(self, data: bytes) -> str:
        person = self.house.consortium.parties[SCIENTIST]
        return self.play.submit(sign_job(data, key=person.key, certificate_pem=person.identity_pem))

    def member(self, name: str) -> RealMember:
        member = self.play.members[name]
        assert isinstance(member, RealMember)
        return member


Federations = Callable[..., Federation]


@pytest.fixture
def federations(
    hubs: Callable[..., object], consortium: Consortium, tables: dict[str, LocalData], tmp_path: Path
) -> Iterator[Federations]:
    made: list[Federation] = []
    makers: list[SiteMaker] = []

    def begin(lie: Callable[[Event], Event] = honest) -> Federation:
        if CUSTODIAN not in consortium.parties:
            consortium.enrol(PartyKind.CUSTODIAN, CUSTODIAN)
        process = hubs(settings=SETTINGS.model_copy(update={"custodian_seconds": 20.0}))
        clock = process.clock  # type: ignore[attr-defined]  # a Process
        maker = SiteMaker(folder=tmp_path / f"sites-{len(made)}", consortium=consortium, clock=clock, template=None)
        maker.folder.mkdir()
        makers.append(maker)
        members = {
            name: RealMember(name, consortium, process, tables[name], site=maker.fresh(name, policy=CHANGES))  # type: ignore[arg-type]  # a Process
            for name in SITES
        }
        play = Play(process, dict(members))  # type: ignore[arg-type]  # a Process
        shown = signed_policy(consortium, policy_with(CHANGES))
        for member in members.values():
            member.connect(play)
            member.attend(policies=(shown,))
        folder = consortium.make_folder(tmp_path / f"custodian-{len(made)}", CUSTODIAN)
        house = House(folder, clock, consortium, settings=CustodianSettings())
        house.approve(CHANGES)
        made.append(Federation(play, house, tmp_path, lie))
        return made[-1]

    yield begin
    for one in made:
        one.house.database.close()
    for maker in makers:
        maker.close()


def killing(federation: list[Federation], forgetful: str) -> Callable[[Event], Event]:
    """The coordinator dies when the scalars of a round arrive; a node dies before it hears of those of the first."""
    killed: set[RoundAddress] = set()

    def tell(event: Event) -> Event:
        if isinstance(event, ScalarsDelivered) and event.address not in killed:
            killed.add(event.address)
            federation[0].play.restart()
            federation[0].attend()
            if len(killed) == 1:
                federation[0].member(forgetful).forget()
        return event

    return tell


def test_products_with_the_vector_of_the_round_before(
    federations: Federations, probing: type[Probing], tables: dict[str, LocalData]
) -> None:
    """They are those that the same job in the clear gives, whoever dies meanwhile, and every node compares its own."""
    made: list[Federation] = []
    forgetful = SITES[1]
    made.append(federations(killing(made, forgetful)))
    federation, data = made[0], job_file("probing", rounds=3)
    federation.attend()
    job = federation.submit(data)
    assert federation.run(job) == "finished", federation.reason(job)
    hidden, trained = dict(probing.seen), dict(probing.trained)
    assert all(numbers == hidden[number] for number, numbers in probing.seen), "after a restart the same"
    probing.seen.clear()

    def lost(stage: str, number: int) -> tuple[str, ...]:
        return (forgetful,) if (stage, number) == ("training", 1) else ()

    document, schema = load_job(data, "job"), load_schema(SCHEMA, "schema.yaml")
    parts = {name: job_data(tables[name], document, frozenset(pseudonyms(name))) for name in SITES}
    run_in_process(document, schema, parts, encode=True, dropouts=lost)
    for number, clear in probing.seen:
        assert hidden[number].keys() == clear.keys() == set(SITES) - set(lost("training", number))
        for name, own in clear.items():
            assert hidden[number][name] == pytest.approx(own, abs=1e-4), (name, number)
    assert RESPONSE not in hidden[2][forgetful]
    assert any(abs(own.get(RESPONSE) or 0) > 0.1 for own in hidden[2].values())
    for (name, number), before in trained.items():
        norm = None if number == 0 else hidden[number - 1].get(name, {}).get("squared_norm")
        assert before == pytest.approx(norm, abs=1e-4), (name, number)
    for name in SITES:
        site = federation.member(name).site
        assert len(site.audit("scalars.compared")) == (1 if name == forgetful else 3)
        assert site.audit("scalars.wrong") == []
        assert list((site.folder.path / "state").rglob("*.safetensors")) == []
    (refused,) = federation.member(forgetful).site.audit("round.refused")
    assert "restarted before it could compare; it takes part again from the next round on" in str(refused.details)
    assert not list((federation.play.process.folder.path / "spool").rglob("*.second"))
    assert len(federation.house.entries("scalars.opened")) == 3


# -- hostile parties ---------------------------------------------------------------------------------------


def restated(event: ScalarsDelivered, party: Enrolled, **changed: object) -> ScalarsDelivered:
    """The delivery with some fields of its first statement changed, signed by ``party``."""
    opened = own_scalars(event.statements[0]).model_copy(update=changed)
    statement = sign_scalars(opened, key=party.key, certificate_pem=party.identity_pem)
    return replace(event, statements=(statement, *event.statements[1:]))


def rolled(event: ScalarsDelivered, party: Enrolled, **changed: object) -> ScalarsDelivered:
    """The delivery with some fields of its list of absent members changed, signed by ``party``."""
    payload = SignedDocument.from_json(event.roll).payload
    roll = ScalarRoll.model_validate_json(payload).model_copy(update=changed)
    return replace(event, roll=sign_roll(roll, key=party.key, certificate_pem=party.identity_pem))


def wrong_deliveries(event: ScalarsDelivered, consortium: Consortium) -> list[tuple[ScalarsDelivered, str]]:
    """What a custodian, or somebody in its place, may bring instead of the right statements."""
    party = consortium.parties[CUSTODIAN]
    fields: dict[str, object] = {
        "federation": "lungs",
        "job": "0" * 64,
        "stage": "evaluation",
        "round": 1,
        "attempt": 1,
        "request": "0" * 64,
        "key": "0" * 64,
        "terms": "0" * 64,
        "shape": "0" * 64,
        "ciphertext": "0" * 64,
        "earlier": "0" * 64,
    }
    wrong = [
        (restated(event, party, **{name: value}), f"{CUSTODIAN} states another {name} of scalars than was asked for")
        for name, value in fields.items()
    ]
    norm = own_scalars(event.statements[0]).values
    return [
        *wrong,
        (restated(event, party, values={}), "opened other scalars than it was asked for"),
        (restated(event, party, values={**norm, "weight": 1.0}), "opened other scalars than it was asked for"),
        (restated(event, party, node=NODES[4]), "states scalars of other nodes than it was asked for"),
        (replace(event, statements=event.statements[1:]), "states scalars of other nodes"),
        (rolled(event, party, absent=()), "lists another absent of scalars than was asked for"),
        (rolled(event, party, round=1), "lists another round of scalars than was asked for"),
        (rolled(event, consortium.parties[SITES[0]]), f"is signed by node/{SITES[0]}"),
        (replace(event, statements=event.statements[::-1]), "states scalars of other nodes"),
        (restated(event, consortium.parties[SITES[0]]), f"is signed by node/{SITES[0]}"),
        (replace(event, custodian="other"), "are not asked for, or of another custodian"),
        (replace(event, address=replace(event.address, round=1)), "is not under way"),
    ]


def with_another_second(event: Event) -> Event:
    """A node sends another second ciphertext than it committed to."""
    assert isinstance(event, ContributionArrived)
    file = event.vector.with_suffix(".other")
    data = event.vector.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    return replace(event, vector=file)


def test_lies_of_the_custodian_and_of_nodes_count_for_nothing(
    federations: Federations, consortium: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: list[str] = []
    made: list[Federation] = []
    calls: list[int] = []

    def tell(event: Event) -> Event:
        if isinstance(event, ScalarsDelivered) and len(expected) < 3:
            for wrong, sentence in wrong_deliveries(event, consortium):
                expected.append(sentence)
                made[0].play.deliver(wrong)
        return event

    def send(event: Event) -> Event:
        if isinstance(event, ContributionArrived) and event.address.stage == "training":
            expected.append("sent a second ciphertext, or numbers about it, that it did not commit to")
            made[0].play.deliver(with_another_second(event))
        return event

    def encrypt(values: NDArray[np.float64], *, plan: RealPlan, public: PublicContext) -> bytes:
        calls.append(1)
        made_well = encrypt_reals(values, plan=plan, public=public)
        if len(calls) < len(SITES):
            return made_well
        expected.append("residue")
        return made_well[:HEADER_BYTES] + b"\xff" * (len(made_well) - HEADER_BYTES)

    monkeypatch.setattr(fedseal.node.sealed, "encrypt_reals", encrypt)
    made.append(federations(tell))
    made[0].member(SITES[0]).line.lie = send
    made[0].attend()
    job = made[0].submit(job_file("screening", rounds=1))
    assert made[0].run(job) == "finished", made[0].reason(job)
    told = (ScalarsDelivered, ContributionArrived)
    refused = [str(error) for event, error in made[0].play.refusals if isinstance(event, told)]
    assert len(refused) == len(expected), refused
    for sentence in expected:
        assert any(sentence in said for said in refused), (sentence, refused)
    (opened,) = made[0].play.process.audit("scalars.opened")
    statements = opened.details["statements"]
    assert isinstance(statements, dict)
    assert sorted(statements) == list(SITES[:3])
    for name in SITES:
        assert made[0].member(name).site.audit("scalars.wrong") == [], "the last was told that nothing was opened"
