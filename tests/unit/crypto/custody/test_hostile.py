"""A hostile coordinator, hostile members, and both together, against members and an honest custodian."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from fedseal_crypto.custody import (
    MASKED_INSIDE,
    Commitment,
    CommitmentList,
    Parcel,
    SealedMessage,
    SealedServer,
    SealedState,
    SumRequest,
    check_request,
    sign_input,
)
from fedseal_crypto.digests import Digest
from fedseal_crypto.errors import CryptoError, MisuseError
from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.masking import (
    CohortTooSmall,
    ConflictingMessage,
    ContextMismatch,
    EarlyMessage,
    InputRefused,
    LateMessage,
    MaskedInputHeader,
    MaskingServer,
    OwnEntryChanged,
    ProtocolViolation,
    SignatureRefused,
    Step,
    UnknownMember,
)
from fedseal_crypto.secret import SecretBytes
from tests.unit.crypto.custody.rounds import (
    NAMES,
    Collected,
    World,
    entropy_of,
    padded_clients,
    play_hybrid,
    play_padded,
)

Forge = Callable[[Collected], SumRequest]


def first_only(collected: Collected) -> SumRequest:
    """One ciphertext as the sum: what a coordinator that wants a single contribution would ask for."""
    name = NAMES[0]
    digest = hashlib.sha256(collected.bundles[name]).digest()
    return collected.request(inputs=(collected.inputs[name],), sum_digest=digest)


def three_only(collected: Collected) -> SumRequest:
    return collected.request(inputs=tuple(collected.inputs[name] for name in NAMES[:3]))


def other_ciphertext(collected: Collected) -> SumRequest:
    """A member that colludes signs another ciphertext than it committed to, such as the others' negated sum."""
    world, name = collected.world, NAMES[-1]
    unsigned = replace(collected.inputs[name], digest=hashlib.sha256(b"negated").digest())
    forged = replace(unsigned, signature=world.identities[name].sign(unsigned.signed()))
    return collected.request(inputs=(*(collected.inputs[item] for item in NAMES[:-1]), forged))


def other_list(collected: Collected) -> SumRequest:
    """The colluding member's commitment is put in after the others have sent."""
    world, name = collected.world, NAMES[-1]
    assert collected.commitments is not None
    own = collected.commitments.commitments[-1]
    unsigned = replace(own, digest=hashlib.sha256(b"negated").digest())
    late = replace(unsigned, signature=world.identities[name].sign(unsigned.signed()))
    changed = replace(collected.commitments, commitments=(*collected.commitments.commitments[:-1], late))
    forged = sign_input(late, changed.digest(), world.identities[name])
    return collected.request(commitments=changed, inputs=(*(collected.inputs[item] for item in NAMES[:-1]), forged))


def unsigned_input(collected: Collected) -> SumRequest:
    broken = replace(collected.inputs[NAMES[0]], signature=bytes(64))
    return collected.request(inputs=(broken, *(collected.inputs[name] for name in NAMES[1:])))


def other_key(collected: Collected) -> SumRequest:
    unsigned = replace(collected.inputs[NAMES[0]], key=bytes(32))
    forged = replace(unsigned, signature=collected.world.identities[NAMES[0]].sign(unsigned.signed()))
    return collected.request(inputs=(forged, *(collected.inputs[name] for name in NAMES[1:])))


def smaller_cohort(collected: Collected) -> SumRequest:
    return collected.request(parameters=replace(collected.world.parameters, minimum_cohort=2))


def other_job(collected: Collected) -> SumRequest:
    return collected.request(parameters=replace(collected.world.parameters, job_digest=Digest("0" * 64)))


def other_federation(collected: Collected) -> SumRequest:
    return collected.request(parameters=replace(collected.world.parameters, federation="lungs"))


def other_attempt(collected: Collected) -> SumRequest:
    return collected.request(parameters=replace(collected.world.parameters, attempt=1))


def no_commitments(collected: Collected) -> SumRequest:
    return collected.request(commitments=None)


REQUESTS: dict[str, tuple[Forge, type[CryptoError], str]] = {
    "one-as-sum": (first_only, CohortTooSmall, "got 1 contributions; expected at least 4"),
    "too-few": (three_only, CohortTooSmall, "got 3 contributions"),
    "not-committed": (other_ciphertext, InputRefused, "a ciphertext that it did not commit to"),
    "committed-late": (other_list, InputRefused, "a statement over the commitments"),
    "not-signed": (unsigned_input, SignatureRefused, "whose signature does not verify"),
    "other-key": (other_key, InputRefused, "a ciphertext under the key 0000"),
    "smaller-cohort": (smaller_cohort, InputRefused, "a minimum cohort of 2"),
    "other-job": (other_job, ContextMismatch, "a request for the job 0000"),
    "other-federation": (other_federation, ContextMismatch, "a request for the federation lungs"),
    "other-attempt": (other_attempt, ContextMismatch, "got context"),
    "no-commitments": (no_commitments, InputRefused, "ciphertexts without commitments"),
}


@pytest.mark.parametrize("forge", REQUESTS)
def test_the_custodian_refuses(padded: World, forge: str) -> None:
    make, error, said = REQUESTS[forge]
    collected = play_padded(padded)
    with pytest.raises(error, match=said):
        check_request(make(collected), padded.expected, padded.members)
    assert check_request(collected.request(), padded.expected, padded.members) == NAMES


def test_the_custodian_refuses_a_stranger_in_the_sum(padded: World) -> None:
    collected = play_padded(padded)
    stranger = padded.members | {NAMES[0]: IdentityKey.generate(entropy_of("stranger").bytes).public}
    with pytest.raises(SignatureRefused):
        check_request(collected.request(), padded.expected, stranger)


def test_statements_of_a_padded_round_do_not_serve_a_masked_job(padded: World, hybrid: World) -> None:
    collected = play_padded(padded)
    with pytest.raises(InputRefused, match="got commitments"):
        check_request(collected.request(), hybrid.expected, padded.members)
    masked = play_hybrid(hybrid)
    with pytest.raises(InputRefused, match="ciphertexts without commitments"):
        check_request(masked.request(), padded.expected, padded.members)
    assert all(item.commitments == MASKED_INSIDE for item in masked.inputs.values())


# -- the coordinator against a member ----------------------------------------------------------------------


def committed(world: World) -> tuple[dict[str, Commitment], CommitmentList]:
    own = {}
    for name, client in padded_clients(world).items():
        client.pad(world.words(name), entropy_of(("pad", name)).bytes)
        own[name] = client.commit(hashlib.sha256(name.encode()).digest())
    items = tuple(own[name] for name in NAMES)
    return {str(name): item for name, item in own.items()}, CommitmentList(
        context0=world.parameters.context0(), commitments=items
    )


def without_own(shown: CommitmentList) -> CommitmentList:
    return replace(shown, commitments=shown.commitments[1:])


def changed_own(shown: CommitmentList) -> CommitmentList:
    own = replace(shown.commitments[0], digest=bytes(32))
    return replace(shown, commitments=(own, *shown.commitments[1:]))


def too_few_shown(shown: CommitmentList) -> CommitmentList:
    return replace(shown, commitments=shown.commitments[:3])


def another_round(shown: CommitmentList) -> CommitmentList:
    return replace(shown, context0=bytes(32))


def forged_member(shown: CommitmentList) -> CommitmentList:
    forged = replace(shown.commitments[-1], digest=bytes(32))
    return replace(shown, commitments=(*shown.commitments[:-1], forged))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (without_own, OwnEntryChanged),
        (changed_own, SignatureRefused),
        (too_few_shown, CohortTooSmall),
        (another_round, ContextMismatch),
        (forged_member, SignatureRefused),
    ],
)
def test_a_member_does_not_send_after(
    padded: World, change: Callable[[CommitmentList], CommitmentList], error: type[ProtocolViolation]
) -> None:
    client = padded_clients(padded)[NAMES[0]]
    _, shown = committed(padded)
    client.pad(padded.words(NAMES[0]), entropy_of(("pad", NAMES[0])).bytes)
    client.commit(hashlib.sha256(NAMES[0].encode()).digest())
    with pytest.raises(error):
        client.send(change(shown))
    assert client.state is SealedState.COMMITTED
    parcel = client.send(shown)
    assert client.send(shown) == parcel, "the same question has the same answer"
    with pytest.raises(MisuseError, match="not possible in state sent"):
        client.send(replace(shown, commitments=shown.commitments[:-1]))


def test_a_member_goes_forward_only(padded: World) -> None:
    client = padded_clients(padded)[NAMES[0]]
    with pytest.raises(MisuseError, match="step commit is not possible in state ready"):
        client.commit(bytes(32))
    client.pad(padded.words(NAMES[0]), entropy_of("pad").bytes)
    with pytest.raises(MisuseError, match="step pad is not possible in state padded"):
        client.pad(padded.words(NAMES[0]), entropy_of("pad").bytes)
    client.abandon()
    assert client.state is SealedState.ABANDONED
    with pytest.raises(MisuseError):
        client.commit(bytes(32))
    with pytest.raises(MisuseError, match="cannot be pickled"):
        client.__reduce__()


# -- members against the coordinator -----------------------------------------------------------------------


def test_the_coordinator_refuses_what_does_not_fit(padded: World) -> None:
    own, shown = committed(padded)
    server = SealedServer(padded.parameters, padded.members, padded.key)
    first, second = NAMES[:2]
    parcel = play_padded(padded)
    sent = Parcel(sealed=parcel.inputs[first], pad=_pad(), masking=b"")
    with pytest.raises(EarlyMessage):
        server.receive(SealedMessage(client=first, content=sent))
    with pytest.raises(UnknownMember, match="expected its own"):
        server.receive(SealedMessage(client=first, content=own[second]))
    for name in NAMES[:-1]:
        server.receive(SealedMessage(client=name, content=own[name]))
    server.receive(SealedMessage(client=first, content=own[first]))  # again: no news
    with pytest.raises(ConflictingMessage):
        server.receive(SealedMessage(client=first, content=replace(own[first], digest=bytes(32))))
    assert server.missing() == {NAMES[-1]}
    server.drop(NAMES[-1])
    assert server.all_in()
    server.close_step()
    with pytest.raises(LateMessage):
        server.receive(SealedMessage(client=NAMES[-1], content=own[NAMES[-1]]))
    with pytest.raises(UnknownMember, match="members that committed"):
        server.receive(SealedMessage(client=NAMES[-1], content=_parcel(padded, own[NAMES[-1]], shown)))
    with pytest.raises(InputRefused, match="a statement over the commitments"):
        server.receive(SealedMessage(client=first, content=_parcel(padded, own[first], shown)))
    listed = server.commitments
    assert listed is not None
    content = replace(_parcel(padded, own[first], listed), pad=SecretBytes(b""))
    with pytest.raises(InputRefused, match="no pad"):
        server.receive(SealedMessage(client=first, content=content))
    server.receive(SealedMessage(client=first, content=_parcel(padded, own[first], listed)))
    server.fail()
    assert server.step is Step.FAILED


def test_masked_vectors_in_the_clear_and_hidden_ones_are_not_confused(hybrid: World) -> None:
    collected = play_hybrid(hybrid)
    plain = MaskingServer(hybrid.parameters, hybrid.members)
    hidden = MaskingServer(hybrid.parameters, hybrid.members, hidden=True)
    header = MaskedInputHeader(client=NAMES[0], context=bytes(32), digest=bytes(32), signature=bytes(64))
    for server, message in ((plain, header.hidden()), (hidden, header.with_words(hybrid.words(NAMES[0])))):
        with pytest.raises(EarlyMessage):
            server.receive(message)
    assert collected.survivors == NAMES


def _pad() -> SecretBytes:
    return SecretBytes(bytes(range(32)))


def _parcel(world: World, own: Commitment, shown: CommitmentList) -> Parcel:
    sealed = sign_input(own, shown.digest(), world.identities[own.client])
    return Parcel(sealed=sealed, pad=_pad(), masking=b"")
