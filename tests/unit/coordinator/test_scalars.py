"""Whole jobs that judge single contributions: coordinator, nodes and custodian by their own code, and one that lies."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

import fedseal.methods.registry
from fedseal.coordinator.intake import Event
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
from fedseal_crypto.homomorphic import Operation
from fedseal_crypto.identity import PartyKind
from fedseal_governance.datasets import load_schema
from fedseal_governance.jobs import load_job
from tests.unit.coordinator.members import Play, signed_policy
from tests.unit.coordinator.process import SETTINGS
from tests.unit.coordinator.real_nodes import Line, RealMember
from tests.unit.coordinator.test_custodians import Scene, honest
from tests.unit.custodian.house import CUSTODIAN, House
from tests.unit.node.papers import SCHEMA, JobFile, policy_with, pseudonyms
from tests.unit.node.parties import NODES, SCIENTIST, Consortium
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
    seen: ClassVar[list[dict[str, dict[str, float | None]]]] = []
    trained: ClassVar[list[tuple[str, int, float | None]]] = []

    def train(self, context: NodeContext) -> LocalUpdate:
        """Note which vector of the round before the node was given."""
        before = None if context.earlier is None else float(context.earlier @ context.earlier)
        self.trained.append((context.node, context.plan.round, before))
        return Screening.train(self, context)

    def scalars(self, plan: Plan, broadcast: NamedTensors) -> ScalarsAsked:
        """One number more from the second round on."""
        asked = Screening.scalars(self, plan, broadcast)
        more = (Scalar(name=RESPONSE, operation=Operation.INNER_PRODUCT),) if plan.round else ()
        return replace(asked, scalars=(*asked.scalars, *more), keep=True)

    def judge(self, plan: Plan, state: NamedTensors, numbers: Mapping[str, Numbers]) -> Judgement:  # noqa: ARG002
        """Accept everybody."""
        self.seen.append({name: dict(own) for name, own in numbers.items()})
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

    def site(self, name: str) -> "RealMember":
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
        for name, member in members.items():
            member.site.agent._outbox = Line(play, name)
            member.site.welcome()
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


def test_products_with_the_vector_of_the_round_before(
    federations: Federations, probing: type[Probing], tmp_path: Path, tables: dict[str, LocalData]
) -> None:
    """They are those that the same job in the clear gives, and every node has compared its own."""
    federation = federations()
    federation.attend()
    data = job_file("probing", rounds=3)
    job = federation.submit(data)
    assert federation.run(job) == "finished", federation.reason(job)
    assert federation.play.refusals == []
    hidden, trained = list(probing.seen), sorted(probing.trained)
    probing.seen.clear()
    probing.trained.clear()
    document, schema = load_job(data, "job"), load_schema(SCHEMA, "schema.yaml")
    parts = {name: job_data(tables[name], document, frozenset(pseudonyms(name))) for name in SITES}
    run_in_process(document, schema, parts, encode=True)
    assert [sorted(own) for own in hidden[2].values()] == [["direction", RESPONSE, "squared_norm"]] * len(SITES)
    for opened, clear in zip(hidden, probing.seen, strict=True):
        assert opened.keys() == clear.keys() == set(SITES)
        for name in SITES:
            assert opened[name] == pytest.approx(clear[name], abs=1e-4), name
    assert any(abs(own[RESPONSE] or 0) > 0.01 for own in hidden[2].values())
    assert [(name, number) for name, number, _ in trained] == [(name, number) for name in SITES for number in range(3)]
    for name, number, before in trained:
        norm = None if number == 0 else hidden[number - 1][name]["squared_norm"]
        assert before == pytest.approx(norm, abs=1e-4), (name, number)
    for name in SITES:
        site = federation.site(name).site
        assert len(site.audit("scalars.compared")) == 3
        assert site.audit("scalars.wrong") == []
        assert list((site.folder.path / "state").rglob("*.safetensors")) == []
    assert not list((federation.play.process.folder.path / "spool").rglob("*.second"))
