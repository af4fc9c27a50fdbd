"""Bytes that are no message: the node says why it ignores or refuses them, and goes on.

Nothing a coordinator can send may end a node's process: it would have to be started again by hand.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.digests import Digest
from fedseal_crypto.masking import Step
from fedseal_governance.participation import attempts_of
from tests.unit.node.attempts import Attempt, Coordinator, assert_counts, assert_ignored, assert_refused
from tests.unit.node.papers import ROWS
from tests.unit.node.parties import NODES, SettableClock
from tests.unit.node.site import Site, SiteMaker

FEW = settings(
    max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
JOB = "ab" * 32
LONG = "x" * 5_000


# --- addresses that lead nowhere ----------------------------------------------------------------------


ADDRESSES = [
    pb.RoundAddress(),
    pb.RoundAddress(job="no digest", stage="statistics"),
    pb.RoundAddress(job=JOB.upper(), stage="statistics"),
    pb.RoundAddress(job=JOB, stage=""),
    pb.RoundAddress(job=JOB, stage=LONG),
    pb.RoundAddress(job=JOB, stage="A" * 65),
    pb.RoundAddress(job=JOB, stage="a\x00b"),
    pb.RoundAddress(job=JOB, stage="zwölf"),
    pb.RoundAddress(job=JOB, stage="a\nb"),
    pb.RoundAddress(job=JOB, stage="statistics", round=2**32 - 1),
    pb.RoundAddress(job=JOB, stage="statistics", attempt=2**31),
]


@pytest.mark.parametrize("address", ADDRESSES, ids=range(len(ADDRESSES)))
def test_an_instruction_without_a_possible_address(coordinator: Coordinator, address: pb.RoundAddress) -> None:
    """There is nobody to refuse to and no attempt to note it for."""
    site, entries = coordinator.site, len(coordinator.site.audit())
    assert_ignored(site, lambda: site.tell(round_start=coordinator.attempt().start(address=address)))
    assert_ignored(site, lambda: site.tell(masking_step=pb.MaskingStep(address=address, payload=b"x")))
    assert_ignored(site, lambda: site.tell(round_end=pb.RoundEnd(address=address, completed=True)))
    assert len(site.audit()) == entries
    assert_counts(coordinator.attempt().finish(), ROWS)


def test_an_unknown_kind_of_instruction(coordinator: Coordinator) -> None:
    site = coordinator.site
    assert_ignored(site, lambda: site.agent.handle(pb.Instruction()))


@pytest.mark.postgresql
def test_numbers_and_names_that_a_database_might_not_take(
    sites: SiteMaker, coordinator: Coordinator, database_url: str
) -> None:
    """PostgreSQL counts in 32 bits and knows no NUL: neither may end the process."""
    site = sites.fresh("zurich", database_url=database_url)
    site.welcome()
    there = Coordinator(site, coordinator.job)
    assert there.offer().accepted
    for address in ADDRESSES:
        assert_ignored(site, lambda address=address: site.tell(round_start=there.attempt().start(address=address)))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    late = there.attempt(2**31 - 1)
    late.begin()
    late.end(completed=False)
    there.end("failed", "a\x00b")
    assert site.audit("job.ended")[-1].details["outcome"] == "failed: a b"


def forget(site: Site, attempt: Attempt) -> None:
    """Let the next example begin the same attempt."""

    def work(session: Session) -> None:
        for row in attempts_of(session, attempt.address.job):
            session.delete(row)

    site.database.run("test", work)


# --- random bytes -------------------------------------------------------------------------------------


@given(noise=st.binary(max_size=400))
@FEW
def test_random_bytes_as_parameters(coordinator: Coordinator, noise: bytes) -> None:
    site, attempt = coordinator.site, coordinator.attempt()
    assert_refused(site, lambda: attempt.begin(parameters=noise), code="MessageMalformed", says="parameters of a round")
    assert site.attempts(coordinator.job.digest) == ()


@given(place=st.integers(min_value=0, max_value=400), flip=st.integers(min_value=1, max_value=255))
@FEW
def test_parameters_with_one_byte_changed(coordinator: Coordinator, place: int, flip: int) -> None:
    """What the node does not refuse is at least as strong as what it asks for, and masks nobody but itself."""
    site, attempt = coordinator.site, coordinator.attempt()
    encoded = bytearray(attempt.parameters.encode())
    encoded[place % len(encoded)] ^= flip
    mark = site.mark()
    attempt.begin(parameters=bytes(encoded))
    left = site.left_since(mark)
    assert left.vectors == []
    assert len(left.refusals) + len(left.messages) <= 1
    current = site.agent._current
    if current is not None:
        entered = current.opened.offer.parameters
        assert entered.threshold >= attempt.parameters.threshold
        assert entered.minimum_cohort >= attempt.parameters.minimum_cohort
        assert entered.corrupted >= attempt.parameters.corrupted
        assert entered.neighbours is None
        attempt.end(completed=False)
        forget(site, attempt)


@given(noise=st.text(max_size=300), place=st.integers(min_value=0, max_value=4))
@FEW
def test_random_text_as_a_certificate(coordinator: Coordinator, noise: str, place: int) -> None:
    attempt = coordinator.attempt()
    listed = [coordinator.consortium.parties[name].identity_pem.decode() for name in NODES]
    listed[place] = noise
    assert_refused(
        coordinator.site,
        lambda: attempt.begin(member_certificates=listed),
        code="CertificateInvalid",
        says="certificate",
    )


@given(place=st.integers(min_value=0, max_value=2_000), flip=st.integers(min_value=1, max_value=127))
@FEW
def test_a_certificate_with_one_character_changed(coordinator: Coordinator, place: int, flip: int) -> None:
    attempt = coordinator.attempt()
    listed = [coordinator.consortium.parties[name].identity_pem.decode() for name in NODES]
    characters = list(listed[4])
    place %= len(characters)
    changed = chr(ord(characters[place]) ^ flip)
    listed[4] = "".join([*characters[:place], changed, *characters[place + 1 :]])
    mark = coordinator.site.mark()
    attempt.begin(member_certificates=listed)
    left = coordinator.site.left_since(mark)
    # A changed line break may still spell the same certificate.
    assert left.vectors == []
    assert len(left.refusals) + len(left.messages) == 1
    if left.messages:
        attempt.end(completed=False)
        forget(coordinator.site, attempt)


@given(noise=st.binary(max_size=300))
@FEW
def test_random_bytes_as_a_masking_message(coordinator: Coordinator, noise: bytes) -> None:
    """Each ends its attempt; the node is ready for the next one."""
    site = coordinator.site
    number = len(site.attempts(coordinator.job.digest))
    attempt = coordinator.attempt(number)
    attempt.begin()
    assert_refused(site, lambda: attempt.instruct(noise), code="MessageMalformed", says="masking message")


@pytest.mark.parametrize("step", [Step.SHARE, Step.MASK, Step.CONFIRM, Step.UNMASK])
@given(place=st.integers(min_value=0, max_value=4_000), flip=st.integers(min_value=1, max_value=255))
@settings(FEW, max_examples=4)
def test_a_masking_message_with_one_byte_changed(coordinator: Coordinator, step: Step, place: int, flip: int) -> None:
    site = coordinator.site
    earlier = tuple(sorted(bytes.fromhex(row.context) for row in site.attempts(coordinator.job.digest)))
    attempt = coordinator.attempt(len(earlier), abandoned=dict.fromkeys(NODES, earlier))
    honest = attempt.reach(step)
    assert honest is not None
    encoded = bytearray(honest.encode())
    encoded[place % len(encoded)] ^= flip
    mark = site.mark()
    attempt.instruct(bytes(encoded))
    left = site.left_since(mark)
    assert (left.messages, left.vectors, len(left.refusals)) == ([], [], 1)
    assert site.agent._current is None


@given(certificate=st.text(max_size=200), revocations=st.binary(max_size=200))
@FEW
def test_random_bytes_as_a_welcome(coordinator: Coordinator, certificate: str, revocations: bytes) -> None:
    site = coordinator.site
    welcome = pb.Welcome(coordinator_certificate=certificate, revocation_list=revocations)
    assert_ignored(site, lambda: site.tell(welcome=welcome))


def test_a_welcome_from_somebody_else(site: Site) -> None:
    """A member that is no coordinator cannot have its log watched in the coordinator's place."""
    zurich = site.consortium.parties["zurich"].identity_pem.decode()
    site.restart()
    site.tell(welcome=pb.Welcome(coordinator_certificate=zurich, revocation_list=site.folder.revocations_pem()))
    site.witness.look()
    assert site.log.asked == []


def test_a_broadcast_of_another_length_than_announced(coordinator: Coordinator) -> None:
    """The connection counts bytes; the node trusts the digest alone."""
    attempt = coordinator.attempt()
    attempt.begin(broadcast_size=len(attempt.broadcast) + 1)
    assert coordinator.site.left_since((0, 0)).refusals == []


def test_refusals_do_not_pile_up_in_memory(coordinator: Coordinator, clock: SettableClock) -> None:
    """A hundred hopeless beginnings leave a hundred entries and nothing else."""
    site = coordinator.site
    for _ in range(20):
        coordinator.attempt(threshold=3).begin()
    assert len(site.audit("round.refused")) == 20
    assert not list((site.folder.path / "incoming").iterdir())
    assert site.attempts(coordinator.job.digest) == ()


def test_a_job_digest_in_place_of_a_path(coordinator: Coordinator) -> None:
    """Local state is kept in folders named after jobs; no message can name another folder."""
    states = coordinator.site.me.local_states
    for name in ("../../etc", "", "a" * 63, "A" * 64, "a" * 64 + "/.."):
        with pytest.raises(Exception, match="digest"):
            states.get(name)
    assert states.get(Digest("a" * 64)) == {}
