"""The coordinator with a custodian: an honest one, one that lies about its key, its sum, or stays away."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedseal.coordinator.custody_events import (
    CustodianArrived,
    CustodianDeclined,
    KeyPublished,
    ScalarsDelivered,
    SumDelivered,
)
from fedseal.coordinator.custody_roll import CustodianSession
from fedseal.coordinator.intake import ContributionArrived, Event
from fedseal.custodian.config import CustodianSettings
from fedseal.documents import sign_job
from fedseal.errors import RefusalError
from fedseal.learning import LocalData
from fedseal.protection import JobKey, OpenedSum, round_layout, sign_key_statement, sign_sum_statement
from fedseal.rounds import RoundAddress
from fedseal.wire._generated import custody_pb2 as pb
from fedseal.wire.custody import address_from_wire
from fedseal_crypto.custody import MASKED_INSIDE, Commitment, Parcel, sign_input
from fedseal_crypto.digests import Digest, parse_digest, sha256_hex
from fedseal_crypto.dsse import SignedDocument
from fedseal_crypto.encoding import VectorSpec
from fedseal_crypto.homomorphic import encrypt_vector, parameters_for_sums
from fedseal_crypto.identity import PartyKind
from fedseal_crypto.masking import MaskedInput
from fedseal_crypto.secret import SecretBytes
from tests.unit.coordinator.members import Member, Play, signed_policy
from tests.unit.coordinator.process import SETTINGS
from tests.unit.custodian.house import CUSTODIAN, House, job_file
from tests.unit.node.papers import policy_with
from tests.unit.node.parties import NODES, SCIENTIST, Consortium, Enrolled, SettableClock


class HybridMember(Member):
    """An honest node of a hybrid job: what it masks it also encrypts."""

    def _vector(self, current: object, masked: MaskedInput) -> Event:
        event = super()._vector(current, masked)  # type: ignore[arg-type]  # the member's own record of its round
        assert isinstance(event, ContributionArrived)
        document = self.jobs[event.address.job]
        desk = self.process.engine._desks[event.address.job]
        public = desk._require_custody().public
        layout = round_layout(document, _specs_of(self, event.address), cohort=len(NODES))
        assert layout.slots is not None
        bundle = encrypt_vector(masked.words, plan=layout.slots, public=public)
        event.vector.write_bytes(bundle)
        unsigned = Commitment(
            client=masked.client,
            context0=current.parameters.context0(),  # type: ignore[attr-defined]  # as above
            key=bytes.fromhex(public.key_digest),
            digest=hashlib.sha256(bundle).digest(),
            signature=b"",
        )
        sealed = sign_input(unsigned, MASKED_INSIDE, self.consortium.parties[self.name].key)
        parcel = Parcel(sealed=sealed, pad=SecretBytes(b""), masking=masked.header.encode())
        return ContributionArrived(
            node=event.node,
            session=event.session,
            address=event.address,
            payload=parcel.encode(),
            vector=event.vector,
        )


def _specs_of(member: Member, address: RoundAddress) -> tuple[VectorSpec, ...]:
    desk = member.process.engine._desks[address.job]
    active = desk._active
    assert active is not None
    return active.opened.specs


@dataclass(slots=True)
class Bridge:
    """A custodian's connection, without a network; ``lie`` changes what it brings."""

    play: Play
    folder: Path
    lie: Callable[[Event], Event]

    def decline(self, declination: pb.Declination) -> None:
        address = address_from_wire(declination.address) if declination.HasField("address") else None
        self._bring(
            CustodianDeclined(
                custodian=CUSTODIAN,
                job=parse_digest(declination.job),
                address=address,
                code=declination.code,
                sentence=declination.sentence,
            )
        )

    def publish_key(self, header: pb.KeyHeader, pieces: Callable[[], Iterator[bytes]]) -> None:
        file = self._file(b"".join(pieces()))
        self._bring(
            KeyPublished(custodian=CUSTODIAN, job=parse_digest(header.job), statement=header.statement, public=file)
        )

    def fetch_ciphertext(self, address: RoundAddress, member: str, *, size: int, target: Path) -> None:
        path = self.play.process.engine.ciphertext(CUSTODIAN, address, member)
        target.write_bytes(path.read_bytes())
        assert target.stat().st_size == size

    def deliver_sum(self, header: pb.SumHeader, pieces: Callable[[], Iterator[bytes]]) -> None:
        address = address_from_wire(header.address)
        data = b"".join(pieces())
        assert self.play.process.engine.sum_bytes(CUSTODIAN, address) == len(data)
        self._bring(
            SumDelivered(
                custodian=CUSTODIAN,
                job=address.job,
                address=address,
                request=header.request,
                statement=header.statement,
                opened=self._file(data),
            )
        )

    def deliver_scalars(self, delivery: pb.ScalarDelivery) -> None:
        address = address_from_wire(delivery.address)
        statements = tuple(delivery.statements)
        event = ScalarsDelivered(
            custodian=CUSTODIAN, job=address.job, address=address, statements=statements, roll=delivery.roll
        )
        self._bring(event)

    def _bring(self, event: Event) -> None:
        self.play.deliver(self.lie(event))

    def _file(self, data: bytes) -> Path:
        path = self.folder / f"{sha256_hex(data)[:16]}.part"
        path.write_bytes(data)
        return path


def honest(event: Event) -> Event:
    return event


class Scene:
    """A coordinator, five nodes and a custodian, each by its own code, driven by hand."""

    def __init__(self, play: Play, house: House, folder: Path, lie: Callable[[Event], Event]) -> None:
        self.play, self.house = play, house
        self.house.keeper._outbox = Bridge(play, folder, lie)
        self.session: CustodianSession | None = None

    def attend(self) -> None:
        """The custodian opens its task stream (again)."""
        party = self.house.consortium.parties[CUSTODIAN]
        open_jobs = tuple(Digest(row.digest) for row in self.house.me.ledger.live_jobs())
        self.session = CustodianSession(member=party.member, identity_pem=party.identity_pem, open_jobs=open_jobs)
        self.play.process.engine.put(CustodianArrived(self.session))

    def run(self, job: str, *, turns: int = 80) -> str:
        """Everybody does what is due until the job has ended and the custodian knows; its final state."""
        for _ in range(turns):
            busy = self.play.turn()
            while self.session is not None and not self.session.outbox.empty():
                task = self.session.outbox.get_nowait()
                if task is not None:
                    busy = True
                    self.house.keeper.handle(task)
            if self.play.process.state(job) in ("finished", "failed", "stopped", "refused") and not busy:
                break
            if not busy:
                self.play.process.clock.forward(seconds=1.0)
                self.house.clock.now = self.play.process.clock.now
        return self.play.process.state(job)

    def reason(self, job: str) -> str:
        return str(self.play.process.detail(job).summary.reason)


Scenes = Callable[..., Scene]


@pytest.fixture
def scenes(
    hubs: Callable[..., object], consortium: Consortium, tables: dict[str, LocalData], tmp_path: Path
) -> Iterator[Scenes]:
    made: list[House] = []

    def begin(lie: Callable[[Event], Event] = honest) -> Scene:
        if CUSTODIAN not in consortium.parties:
            consortium.enrol(PartyKind.CUSTODIAN, CUSTODIAN)
        process = hubs(settings=SETTINGS.model_copy(update={"custodian_seconds": 20.0}))
        members: dict[str, Member] = {
            name: HybridMember(name, consortium, process, tables[name])  # type: ignore[arg-type]  # a Process
            for name in NODES
        }
        play = Play(process, members)  # type: ignore[arg-type]  # a Process
        shown = signed_policy(consortium, policy_with({"allowed: [masking]": "allowed: [hybrid]"}))
        for member in members.values():
            member.attend(policies=(shown,))
        folder = consortium.make_folder(tmp_path / f"custodian-{len(made)}", CUSTODIAN)
        house = House(folder, SettableClock(), consortium, settings=CustodianSettings())
        house.approve()
        made.append(house)
        return Scene(play, house, tmp_path, lie)

    yield begin
    for house in made:
        house.database.close()


def submit(scene: Scene) -> str:
    data = job_file("hybrid")
    person = scene.house.consortium.parties[SCIENTIST]
    return scene.play.submit(sign_job(data, key=person.key, certificate_pem=person.identity_pem))


def test_an_honest_custodian(scenes: Scenes) -> None:
    scene = scenes()
    scene.attend()
    job = submit(scene)
    assert scene.run(job) == "finished", scene.reason(job)
    assert scene.play.refusals == []
    kinds = [entry.type for entry in scene.play.process.audit()]
    for kind in ("key.received", "sum.requested", "sum.opened"):
        assert kinds.count(kind) == 1
    assert scene.house.vault.jobs() == frozenset()
    scene.play.process.assert_log_verifies()


def test_a_coordinator_killed_before_each_operation(scenes: Scenes) -> None:
    """Whenever it dies, the job goes on, and the custodian opens one sum."""
    for number in range(14, 44, 6):
        scene = scenes()

        def die(play: Play, operation: int, moment: str, number: int = number, scene: Scene = scene) -> None:
            if operation == number and moment == "after":
                play.interfere = lambda _play, _number, _moment: None
                play.restart()
                scene.attend()

        scene.attend()
        job = submit(scene)
        scene.play.interfere = die
        assert scene.run(job) == "finished", (number, scene.reason(job))
        opened = scene.house.entries("sum.opened")
        assert {entry.details["request"] for entry in opened} == {opened[0].details["request"]}
        scene.play.process.die()


def test_a_custodian_that_never_comes(scenes: Scenes) -> None:
    scene = scenes()
    job = submit(scene)
    assert scene.run(job) == "refused"
    assert "the custodian data-trust made no key within 20 seconds" in scene.reason(job)


def test_a_custodian_that_leaves_before_the_sum(scenes: Scenes) -> None:
    def silent(event: Event) -> Event:
        if isinstance(event, SumDelivered):
            raise _GoneError
        return event

    scene = scenes(silent)
    scene.attend()
    job = submit(scene)
    with pytest.raises(_GoneError):
        scene.run(job)
    scene.session = None
    assert scene.run(job) == "failed"
    assert "data-trust did not open the sum" in scene.reason(job)


class _GoneError(Exception):
    """The custodian's process is gone."""


# -- lies about the key ------------------------------------------------------------------------------------


def restated(event: KeyPublished, party: Enrolled, **changed: str) -> bytes:
    """The statement with some of its fields changed, signed by ``party``."""
    payload = SignedDocument.from_json(event.statement).payload
    fields = JobKey.model_validate_json(payload).model_dump(by_alias=True) | changed
    return sign_key_statement(JobKey.model_validate(fields), key=party.key, certificate_pem=party.identity_pem)


def signed_by_a_node(event: KeyPublished, consortium: Consortium) -> KeyPublished:
    return _with(event, statement=restated(event, consortium.parties[NODES[0]]))


def for_another_job(event: KeyPublished, consortium: Consortium) -> KeyPublished:
    return _with(event, statement=restated(event, consortium.parties[CUSTODIAN], job="0" * 64))


def of_other_parameters(event: KeyPublished, consortium: Consortium) -> KeyPublished:
    name = parameters_for_sums(200).name
    return _with(event, statement=restated(event, consortium.parties[CUSTODIAN], parameters=name))


def another_file(event: KeyPublished, _consortium: Consortium) -> KeyPublished:
    event.public.write_bytes(event.public.read_bytes()[:-1] + b"x")
    return event


def with_the_secret_in_it(event: KeyPublished, consortium: Consortium) -> KeyPublished:
    data = b"FSHESEC\x01" + event.public.read_bytes()
    event.public.write_bytes(data)
    return _with(event, statement=restated(event, consortium.parties[CUSTODIAN], file=sha256_hex(data)))


def _with(event: KeyPublished, *, statement: bytes) -> KeyPublished:
    return KeyPublished(custodian=event.custodian, job=event.job, statement=statement, public=event.public)


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (signed_by_a_node, "a statement of the custodian data-trust is signed by node/basel"),
        (for_another_job, "data-trust stated a key for another job than this job's"),
        (of_other_parameters, "data-trust stated a key for another parameters than this job's"),
        (another_file, "data-trust sent another public key than it signed"),
        (with_the_secret_in_it, "secret key"),
    ],
)
def test_a_false_key_is_refused_and_the_job_does_not_run(
    scenes: Scenes, consortium: Consortium, lie: Callable[[KeyPublished, Consortium], KeyPublished], said: str
) -> None:
    def tell(event: Event) -> Event:
        return lie(event, consortium) if isinstance(event, KeyPublished) else event

    scene = scenes(tell)
    scene.attend()
    job = submit(scene)
    assert scene.run(job) == "refused"
    assert any(said in str(error) for _, error in scene.play.refusals), scene.play.refusals
    assert scene.play.process.audit("key.received") == []


# -- lies about the sum ------------------------------------------------------------------------------------


def changed_sum(event: SumDelivered, party: Enrolled, **changed: object) -> SumDelivered:
    payload = SignedDocument.from_json(event.statement).payload
    fields = OpenedSum.model_validate_json(payload).model_dump(by_alias=True) | changed
    statement = sign_sum_statement(OpenedSum.model_validate(fields), key=party.key, certificate_pem=party.identity_pem)
    return SumDelivered(
        custodian=event.custodian,
        job=event.job,
        address=event.address,
        request=event.request,
        statement=statement,
        opened=event.opened,
    )


def test_a_false_sum_with_a_true_statement_fails_the_check_word(scenes: Scenes, consortium: Consortium) -> None:
    """The custodian signs whatever it delivers; only the words themselves can show that they are no sum."""

    def tell(event: Event) -> Event:
        if not isinstance(event, SumDelivered):
            return event
        words = bytearray(event.opened.read_bytes())
        words[0] ^= 1
        event.opened.write_bytes(bytes(words))
        return changed_sum(event, consortium.parties[CUSTODIAN], opened=hashlib.sha256(words).hexdigest())

    scene = scenes(tell)
    scene.attend()
    job = submit(scene)
    assert scene.run(job) == "failed"
    assert "check word" in scene.reason(job)
    assert scene.play.process.artefacts(job).keys() & {"model", "statistics"} == set()


@pytest.mark.parametrize(
    "changed",
    [
        {"request": "0" * 64},
        {"sum": "0" * 64},
        {"count": 4},
        {"opened": "0" * 64},
        {"key": "0" * 64},
        {"round": 1},
        {"federation": "lungs"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_statement_that_does_not_fit_is_refused(
    scenes: Scenes, consortium: Consortium, changed: dict[str, object]
) -> None:
    def tell(event: Event) -> Event:
        if isinstance(event, SumDelivered):
            return changed_sum(event, consortium.parties[CUSTODIAN], **changed)
        return event

    scene = scenes(tell)
    scene.attend()
    job = submit(scene)
    assert scene.run(job) == "failed", "the right answer never came"
    assert any("states another" in str(error) for _, error in scene.play.refusals)
    assert scene.play.process.audit("sum.opened") == []


def test_another_custodian_may_neither_answer_nor_fetch(scenes: Scenes) -> None:
    scene = scenes()
    scene.attend()
    job = submit(scene)
    engine = scene.play.process.engine
    declined = CustodianDeclined(custodian="other", job=parse_digest(job), address=None, code="No", sentence="No.")
    with pytest.raises(RefusalError, match="the job names the custodian data-trust, not other"):
        engine.call(declined)
    address = RoundAddress(parse_digest(job), "statistics", 0, 0)
    with pytest.raises(RefusalError, match="is not under way"):
        engine.ciphertext("other", address, NODES[0])
