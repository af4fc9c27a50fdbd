"""A node with a valid certificate breaks the rules: it is refused in a sentence, and harms nobody but itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest

from fedseal_crypto.encoding import RingVector
from fedseal_crypto.masking import MaskedInput, Roster, ShareBundle
from tests.system import evidence
from tests.system.federation import Federation, SmallJob
from tests.system.hostile import Attempt, ScriptedNode

pytestmark = pytest.mark.system

HOSTILE = "hungary"
HONEST = ("cleveland", "switzerland", "va-long-beach")
JOB = SmallJob(rounds=1)


@pytest.fixture
def hostile(idle: Federation) -> Iterator[ScriptedNode]:
    """The hostile node, present beside three honest ones."""
    idle.start_coordinator()
    for node in HONEST:
        idle.start_node(node)
    scripted = ScriptedNode(idle, HOSTILE)
    idle.wait_present(*HONEST, HOSTILE)
    try:
        yield scripted
    finally:
        scripted.close()


@contextmanager
def refused(code: grpc.StatusCode, *words: str) -> Iterator[None]:
    with pytest.raises(grpc.RpcError) as caught:
        yield
    assert caught.value.code() is code, caught.value.details()
    for word in words:
        assert word in str(caught.value.details())


def submit(federation: Federation, hostile: ScriptedNode, *, step_seconds: int = 15) -> str:
    job = federation.submit(replace(JOB, step_seconds=step_seconds))
    hostile.accept(hostile.wait("job_offer").job_offer)
    return job


def up_to_the_vector(hostile: ScriptedNode) -> tuple[Attempt, MaskedInput]:
    """Take part honestly until it is time to send the masked vector."""
    attempt, advertisement = hostile.enter(hostile.wait("round_start").round_start)
    hostile.send_payload(attempt, advertisement)
    hostile.send(attempt, hostile.answer(attempt, hostile.wait("masking_step").masking_step))
    masked = hostile.answer(attempt, hostile.wait("masking_step").masking_step)
    assert isinstance(masked, MaskedInput)
    return attempt, masked


def assert_done_without_it(federation: Federation, job: str, folder: Path) -> None:
    federation.wait_ended(job)
    evidence.assert_finished(federation, job, folder)
    first = federation.detail(job).rounds[0]
    assert sorted(first.survivors) == list(HONEST)
    assert list(first.recovered) == [HOSTILE]
    assert not list((federation.folder / "coordinator" / "spool" / "incoming").iterdir())


Sender = Callable[[ScriptedNode, Attempt, MaskedInput], None]


def too_short(node: ScriptedNode, attempt: Attempt, masked: MaskedInput) -> None:
    data = bytes(masked.words.buffer)[:-1]
    size = attempt.layout.wire_bytes
    with refused(grpc.StatusCode.INVALID_ARGUMENT, f"has {size} bytes and {HOSTILE} announced {size - 1}"):
        node.contribute(attempt, masked.header.encode(), [data], size=size - 1)


def truncated(node: ScriptedNode, attempt: Attempt, masked: MaskedInput) -> None:
    half = bytes(masked.words.buffer)[: attempt.layout.wire_bytes // 2]
    with refused(grpc.StatusCode.INVALID_ARGUMENT, f"ended after {len(half)} of", "discarded"):
        node.contribute(attempt, masked.header.encode(), [half])


def too_long(node: ScriptedNode, attempt: Attempt, masked: MaskedInput) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "broke its bounds", "discarded"):
        node.contribute(attempt, masked.header.encode(), [bytes(masked.words.buffer), b"more"])


def not_what_was_signed(node: ScriptedNode, attempt: Attempt, masked: MaskedInput) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, HOSTILE, "digest"):
        node.contribute(attempt, masked.header.encode(), [bytes(attempt.layout.wire_bytes)])


def cut_off(node: ScriptedNode, attempt: Attempt, masked: MaskedInput) -> None:
    """The connection breaks in the middle of the upload."""

    def pieces() -> Iterator[bytes]:
        yield bytes(masked.words.buffer)[: attempt.layout.wire_bytes // 2]
        node.close()
        yield b""

    with pytest.raises((grpc.RpcError, ValueError)):
        node.contribute(attempt, masked.header.encode(), pieces())


@pytest.mark.parametrize("send", [cut_off, too_short, truncated, too_long, not_what_was_signed])
def test_vector_that_is_not_whole(idle: Federation, hostile: ScriptedNode, tmp_path: Path, send: Sender) -> None:
    job = submit(idle, hostile)
    attempt, masked = up_to_the_vector(hostile)
    send(hostile, attempt, masked)
    hostile.close()
    assert_done_without_it(idle, job, tmp_path)


@pytest.mark.parametrize(
    ("begin", "words"),
    [
        pytest.param(0.0, "the check word of the sum", id="everywhere"),
        pytest.param(0.5, "larger than 4 contributions can give", id="where-no-check-word-is"),
    ],
)
def test_vector_full_of_not_a_number(
    idle: Federation, hostile: ScriptedNode, tmp_path: Path, begin: float, words: str
) -> None:
    """On the wire there are only integers, so it becomes a wrong sum; the job ends, and no such model appears."""
    job = submit(idle, hostile)
    attempt, advertisement = hostile.enter(hostile.wait("round_start").round_start)
    hostile.send_payload(attempt, advertisement)
    hostile.send(attempt, hostile.answer(attempt, hostile.wait("masking_step").masking_step))
    vector = np.frombuffer(bytearray(attempt.zeros().buffer), dtype=np.uint8)
    changed = vector[int(len(vector) * begin) :]
    changed[:] = np.frombuffer(np.full(len(changed) // 8 + 1, np.nan).tobytes()[: len(changed)], dtype=np.uint8)
    delivery = attempt.decode(hostile.wait("masking_step").masking_step.payload)
    contribution = RingVector.from_bytes(attempt.client.parameters, vector.tobytes())
    hostile.send(attempt, attempt.client.answer(delivery, contribution))
    hostile.play(attempt)
    detail = idle.wait_ended(job)
    assert detail.summary.state == "failed"
    assert words in detail.summary.reason
    assert "model" not in {item.kind for item in detail.artefacts}
    evidence.assert_sound(idle, job, tmp_path)


def test_messages_that_break_the_rules_change_nothing(idle: Federation, hostile: ScriptedNode, tmp_path: Path) -> None:
    """Each is refused, the right message is still taken after it, and the node is in the sum."""
    job = submit(idle, hostile)
    attempt, advertisement = hostile.enter(hostile.wait("round_start").round_start)
    bad, wrong = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
    with refused(bad, "message"):
        hostile.send_payload(attempt, b"\x00" * 100)
    with refused(bad, "message"):
        hostile.send_payload(attempt, advertisement + b"\x00")
    with refused(wrong, "another process of hungary"):
        hostile.send_payload(attempt, advertisement, session=b"x" * 16)
    later = replace(attempt, address=replace(attempt.address, stage="training", round=7))
    with refused(wrong, "is not under way"):
        hostile.send_payload(later, advertisement)
    hostile.send_payload(attempt, advertisement)
    hostile.send_payload(attempt, advertisement)  # the same again changes nothing
    _, other = hostile.enter(attempt.start)
    with refused(bad, "second, different message"):
        hostile.send_payload(attempt, other)

    roster = attempt.decode(hostile.wait("masking_step").masking_step.payload)
    assert isinstance(roster, Roster)
    theirs = next(item for item in roster.advertisements if item.client != HOSTILE)
    with refused(bad, f"{HOSTILE} sent a message in the name of {theirs.client}"):
        hostile.send_payload(attempt, theirs.encode())
    with refused(bad, "not a message for the coordinator"):
        hostile.send_payload(attempt, roster.encode())
    hostile.send(attempt, attempt.client.answer(roster))
    hostile.play(attempt)
    hostile.close()

    idle.wait_ended(job)
    evidence.assert_finished(idle, job, tmp_path)
    assert sorted(idle.detail(job).rounds[0].survivors) == sorted((*HONEST, HOSTILE))


def test_repeated_header_with_other_bytes_does_not_replace_the_vector(
    idle: Federation, hostile: ScriptedNode, tmp_path: Path
) -> None:
    """Were the file replaced, the coordinator could not take the round up after a restart."""
    idle.configure_coordinator(gather_seconds=3)
    job = submit(idle, hostile, step_seconds=5)
    attempt, masked = up_to_the_vector(hostile)
    hostile.send(attempt, masked)
    # The same header: taken as a repetition, whatever step the round has come to.
    hostile.contribute(attempt, masked.header.encode(), [bytes(attempt.layout.wire_bytes)])
    hostile.close()
    idle.start_coordinator()
    idle.wait_ended(job)
    evidence.assert_finished(idle, job, tmp_path)


def test_shares_that_cannot_be_opened_end_the_job_with_a_name(
    idle: Federation, hostile: ScriptedNode, tmp_path: Path
) -> None:
    """Every honest node refuses by itself; a protocol that hides inputs cannot force anybody to be useful."""
    job = submit(idle, hostile, step_seconds=5)
    attempt, advertisement = hostile.enter(hostile.wait("round_start").round_start)
    hostile.send_payload(attempt, advertisement)
    bundle = hostile.answer(attempt, hostile.wait("masking_step").masking_step)
    assert isinstance(bundle, ShareBundle)
    hostile.send(attempt, spoiled(bundle, hostile))
    detail = idle.wait_ended(job)
    assert detail.summary.state == "failed"
    assert "SharesRefused" not in detail.summary.reason
    assert HOSTILE in detail.summary.reason
    evidence.assert_sound(idle, job, tmp_path)


def spoiled(bundle: ShareBundle, node: ScriptedNode) -> ShareBundle:
    """The same bundle with one bit of each sealed share flipped, signed properly."""
    shares = tuple(replace(item, sealed=bytes([item.sealed[0] ^ 1]) + item.sealed[1:]) for item in bundle.shares)
    unsigned = replace(bundle, shares=shares)
    return replace(unsigned, signature=node.sign(unsigned.signed()))
