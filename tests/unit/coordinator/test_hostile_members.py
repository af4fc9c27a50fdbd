"""Nodes that lie to the coordinator: messages in another's name, twice, too early, too large, or for another attempt.

A lie is refused with a typed error, changes nothing, and the round goes on with everybody who is honest.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fedseal.coordinator.intake import ContributionArrived, MessageReported, RoundRefused, VerdictReported
from fedseal.errors import PeerFault, RefusalError
from fedseal.rounds import RoundAddress
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.digests import Digest
from fedseal_crypto.encoding import RingBytesInvalid
from fedseal_crypto.errors import CryptoError
from fedseal_crypto.masking import (
    Confirmation,
    Confirmations,
    ConflictingMessage,
    ContextMismatch,
    EarlyMessage,
    InputRefused,
    MaskedInputHeader,
    MessageMalformed,
    SignatureRefused,
    Step,
    decode_message,
)
from fedseal_governance.errors import GovernanceError
from tests.unit.coordinator.members import Member, Play, messages_of
from tests.unit.node.papers import JobFile
from tests.unit.node.parties import NODES, Consortium


@pytest.fixture
def job(play: Play, consortium: Consortium) -> str:
    """A job whose first round has begun."""
    digest = play.submit(JobFile().signed(consortium).envelope)
    play.until(lambda: play.step_of(digest) is Step.ADVERTISE)
    return digest


def answers(play: Play, name: str) -> list[MessageReported | ContributionArrived]:
    """What a node would send now, without sending it."""
    member = play.members[name]
    events = [member.answer(item) for item in list(member.read())]
    member.inbox.clear()
    return [event for event in events if isinstance(event, MessageReported | ContributionArrived)]


def assert_lie_changes_nothing(
    play: Play, job: str, lie: object, error: type[Exception], says: str | None = None
) -> None:
    before = play.step_of(job), list(play.process.events)
    with pytest.raises(error, match=says):
        play.process.engine.call(lie)  # type: ignore[arg-type]  # one of the events
    assert (play.step_of(job), list(play.process.events)) == before


# --- messages -----------------------------------------------------------------------------------------


def test_a_message_in_another_members_name(play: Play, job: str) -> None:
    [honest] = answers(play, "zurich")
    lie = replace(honest, node="basel", session=play.members["basel"].session)
    assert_lie_changes_nothing(play, job, lie, PeerFault, "basel sent a message in the name of zurich")
    play.deliver(honest)
    assert play.run(job) == "finished"


def test_a_message_by_a_process_that_the_attempt_was_not_begun_with(play: Play, job: str) -> None:
    [honest] = answers(play, "zurich")
    lie = replace(honest, session=bytes(16))
    assert_lie_changes_nothing(play, job, lie, RefusalError, "was begun by another process of zurich")


def test_a_message_by_a_node_outside_the_attempt(play: Play, job: str) -> None:
    [honest] = answers(play, "zurich")
    lie = replace(honest, node="oslo")
    assert_lie_changes_nothing(play, job, lie, RefusalError, "by another process of oslo, or without it")


@pytest.mark.parametrize(
    "changed",
    [{"attempt": 1}, {"round": 1}, {"stage": "training"}, {"job": Digest("ab" * 32)}],
)
def test_a_message_for_another_attempt(play: Play, job: str, changed: dict[str, object]) -> None:
    [honest] = answers(play, "zurich")
    lie = replace(honest, address=replace(honest.address, **changed))  # type: ignore[arg-type]  # one field
    assert_lie_changes_nothing(play, job, lie, RefusalError, "is not (under way|running here)")


def test_a_second_different_message_for_a_step(play: Play, job: str) -> None:
    """The first one counts; a member cannot show two faces."""
    [honest] = answers(play, "zurich")
    play.deliver(honest)
    zurich = play.members["zurich"]
    double = Member("zurich", play.process.consortium, play.process, zurich.rows, session=zurich.session)
    zurich.leave()
    zurich.attend()
    [instruction] = [item for item in zurich.read() if item.WhichOneof("kind") == "round_start"]
    other = double.answer(instruction)
    assert_lie_changes_nothing(play, job, other, ConflictingMessage, "zurich")
    assert play.run(job) == "finished"


def test_the_same_message_again_changes_nothing(play: Play, job: str) -> None:
    [honest] = answers(play, "zurich")
    play.deliver(honest)
    events = len(play.process.events)
    play.process.engine.call(honest)
    play.process.engine.call(honest)
    assert len(play.process.events) == events
    assert play.run(job) == "finished"


def test_bytes_that_are_no_message(play: Play, job: str) -> None:
    [honest] = answers(play, "zurich")
    assert isinstance(honest, MessageReported)
    for payload in (b"", b"garbage", honest.payload[:-1], honest.payload + b"x"):
        assert_lie_changes_nothing(play, job, replace(honest, payload=payload), MessageMalformed)
    play.deliver(honest)


def test_a_signature_that_does_not_verify(play: Play, job: str) -> None:
    [honest] = answers(play, "zurich")
    flipped = honest.payload[:-1] + bytes([honest.payload[-1] ^ 1])
    assert_lie_changes_nothing(play, job, replace(honest, payload=flipped), SignatureRefused)


def test_a_message_of_the_next_step_too_early(play: Play, job: str) -> None:
    """Members that show each other their confirmations do not get ahead of the coordinator."""
    play.until(lambda: play.step_of(job) is Step.CONFIRM)
    honest = {name: answers(play, name)[0] for name in NODES}
    zurich = play.members["zurich"]
    current = zurich._round
    assert current is not None
    listed = [decode_message(event.payload) for event in honest.values()]
    confirmations = [message for message in listed if isinstance(message, Confirmation)]
    reply = current.client.unmask(Confirmations(context=confirmations[0].context, confirmations=tuple(confirmations)))
    early = MessageReported(node="zurich", session=zurich.session, address=current.address, payload=reply.encode())
    assert_lie_changes_nothing(play, job, early, EarlyMessage)
    zurich.silent = True
    for event in honest.values():
        play.deliver(event)
    assert play.run(job) == "finished"


# --- vectors ------------------------------------------------------------------------------------------


@pytest.fixture
def upload(play: Play, job: str) -> ContributionArrived:
    """A node's masked vector, about to be handed in."""
    play.until(lambda: play.step_of(job) is Step.MASK)
    [event] = answers(play, "zurich")
    assert isinstance(event, ContributionArrived)
    return event


def changed_file(event: ContributionArrived, content: bytes) -> ContributionArrived:
    path = Path(f"{event.vector}.lie")
    path.write_bytes(content)
    return replace(event, vector=path)


def test_a_vector_that_does_not_match_its_header(play: Play, job: str, upload: ContributionArrived) -> None:
    data = upload.vector.read_bytes()
    lie = changed_file(upload, bytes([data[0] ^ 1]) + data[1:])
    assert_lie_changes_nothing(play, job, lie, InputRefused)
    play.deliver(upload)
    assert play.run(job) == "finished"


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0", lambda _data: b"x"])
def test_a_vector_of_another_size(
    play: Play, job: str, upload: ContributionArrived, change: Callable[[bytes], bytes]
) -> None:
    lie = changed_file(upload, change(upload.vector.read_bytes()))
    assert_lie_changes_nothing(play, job, lie, RingBytesInvalid)


def test_a_vector_in_another_members_name(play: Play, job: str, upload: ContributionArrived) -> None:
    lie = replace(upload, node="basel", session=play.members["basel"].session)
    assert_lie_changes_nothing(play, job, lie, PeerFault, "basel sent a message in the name of zurich")


def test_another_message_in_place_of_the_header(play: Play, job: str, upload: ContributionArrived) -> None:
    bundle = messages_of(play.members["zurich"].sent)[-1]
    lie = replace(upload, payload=bundle.payload)
    assert_lie_changes_nothing(play, job, lie, PeerFault, "where the header of a masked vector belongs")


def test_a_header_without_its_vector(play: Play, job: str, upload: ContributionArrived) -> None:
    """Sent as an ordinary message it would count as an answer without anything in the sum."""
    lie = MessageReported(node="zurich", session=upload.session, address=upload.address, payload=upload.payload)
    assert_lie_changes_nothing(play, job, lie, PeerFault, "a MaskedInputHeader is not a message for the coordinator")
    play.deliver(upload)
    assert play.run(job) == "finished"


def test_the_same_header_again_with_other_bytes(play: Play, job: str, upload: ContributionArrived) -> None:
    """What was stored first stays stored, so that a restart finds it."""
    data = upload.vector.read_bytes()
    play.deliver(upload)
    play.process.engine.call(changed_file(upload, bytes(len(data))))
    play.restart()
    assert play.step_of(job) is Step.MASK
    assert play.run(job) == "finished"
    assert [item.state for item in play.process.detail(job).rounds] == ["completed"]


def test_a_vector_of_an_earlier_attempt(play: Play, job: str, upload: ContributionArrived) -> None:
    header = decode_message(upload.payload)
    assert isinstance(header, MaskedInputHeader)
    key = play.process.consortium.parties["zurich"].key
    foreign = replace(header, context=bytes(32))
    lie = replace(upload, payload=replace(foreign, signature=key.sign(foreign.signed())).encode())
    assert_lie_changes_nothing(play, job, lie, ContextMismatch)


def test_a_vector_for_a_job_that_is_not_running(play: Play, job: str, upload: ContributionArrived) -> None:
    elsewhere = RoundAddress(Digest("cd" * 32), "statistics", 0, 0)
    with pytest.raises(RefusalError, match="is not running here"):
        play.process.engine.expected_bytes(elsewhere, upload.node, upload.session)
    later = replace(upload.address, attempt=1)
    with pytest.raises(RefusalError, match="is not under way"):
        play.process.engine.expected_bytes(later, upload.node, upload.session)
    size = play.process.engine.expected_bytes(upload.address, upload.node, upload.session)
    assert size == upload.vector.stat().st_size


# --- answers to offers --------------------------------------------------------------------------------


def test_an_answer_by_a_node_that_the_job_does_not_name(play: Play, job: str) -> None:
    lie = VerdictReported(node="oslo", verdict=pb.JobVerdict(job=job, accepted=True))
    with pytest.raises(RefusalError, match="the job does not name oslo"):
        play.process.engine.call(lie)


def test_the_first_answer_counts(play: Play, job: str) -> None:
    play.process.engine.call(VerdictReported(node="zurich", verdict=pb.JobVerdict(job=job, accepted=False)))
    answer = {item.node: item.answer for item in play.process.detail(job).answers}["zurich"]
    assert answer == "accepted"


def test_an_answer_to_a_job_that_nobody_knows(play: Play) -> None:
    lie = VerdictReported(node="zurich", verdict=pb.JobVerdict(job="no such job", accepted=True))
    with pytest.raises(RefusalError, match="is not running here"):
        play.process.engine.call(lie)


# --- refusals -----------------------------------------------------------------------------------------


def test_a_refusal_keeps_a_node_out_of_its_round_only(play: Play, consortium: Consortium) -> None:
    """The attempt goes on without it; the next round has it again; both logs know why."""
    zurich = play.members["zurich"]
    zurich.refuses = lambda address: "The dataset has changed." if address.stage == "statistics" else ""
    job = play.submit(JobFile(training_rounds=1).signed(consortium).envelope)
    assert play.run(job) == "finished"
    rounds = play.process.detail(job).rounds
    assert [(item.address.stage, len(item.survivors)) for item in rounds] == [
        ("statistics", 4),
        ("training", 5),
        ("evaluation", 5),
    ]
    [entry] = play.process.audit("round.declined")
    assert (entry.actor, entry.details["sentence"]) == ("node/zurich", "The dataset has changed.")


def test_a_node_that_refused_is_not_asked_again_in_a_retry(play: Play, consortium: Consortium) -> None:
    for name in ("hungary", "zurich"):
        play.members[name].refuses = lambda _address: "Not enough consents."
    job = play.submit(JobFile().signed(consortium).envelope)
    assert play.run(job) == "finished"
    rounds = play.process.detail(job).rounds
    assert [(item.state, len(item.roster)) for item in rounds] == [("failed", 5), ("completed", 3)]
    assert len(play.process.audit("round.declined")) == 2


def test_too_many_refusals_end_the_job_at_once_with_the_reasons(play: Play, consortium: Consortium) -> None:
    """Nobody is waited for who would refuse again."""
    for name in NODES[:3]:
        play.members[name].refuses = lambda _address: "The policy was revoked."
    job = play.submit(JobFile().signed(consortium).envelope)
    started = play.process.clock.now
    assert play.run(job) == "failed"
    assert (play.process.clock.now - started).total_seconds() < play.process.settings.patience_seconds
    reason = play.process.detail(job).summary.reason
    assert "2 of those that accepted the job would still take part" in reason
    assert "basel: The policy was revoked." in reason


def test_refusals_as_long_as_can_be_do_not_stop_the_coordinator(play: Play, consortium: Consortium) -> None:
    """Nor do ones that look like data; other jobs go on."""
    for name, sentence in zip(NODES[:3], ("word " * 800, "A" * 4_000, "\x00\n" * 2_000), strict=True):
        play.members[name].refuses = lambda _address, sentence=sentence: sentence  # type: ignore[misc]  # bound per loop
    job = play.submit(JobFile().signed(consortium).envelope)
    assert play.run(job) == "failed"
    assert len(play.process.audit("round.declined")) == 3
    play.process.assert_log_verifies()
    for name in NODES:
        play.members[name].refuses = lambda _address: ""
    other = play.submit(JobFile(name="other", seed=9).signed(consortium).envelope)
    assert play.run(other) == "finished"


def test_a_refusal_for_another_attempt_is_refused(play: Play, job: str) -> None:
    address = RoundAddress(Digest(job), "statistics", 0, 1)
    lie = RoundRefused(node="zurich", session=play.members["zurich"].session, address=address, code="X", sentence="no")
    assert_lie_changes_nothing(play, job, lie, RefusalError, "is not under way")


def test_every_refusal_is_a_typed_error(play: Play, job: str) -> None:
    """Whatever a node sends, the caller gets one of the project's own errors."""
    [honest] = answers(play, "zurich")
    assert isinstance(honest, MessageReported)
    for payload in (bytes(range(256)), b"FSM\x01\x01" + bytes(300), b"FSM\x01\xff"):
        with pytest.raises((PeerFault, RefusalError, CryptoError, GovernanceError)):
            play.process.engine.call(replace(honest, payload=payload))
