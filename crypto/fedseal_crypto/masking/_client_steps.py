"""The computations behind a member's steps, each a function of what the member remembers."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from fedseal_crypto.encoding import RingMismatch, RingVector
from fedseal_crypto.identity import Entropy, IdentityKey
from fedseal_crypto.masking._client_memory import Confirmed, Secrets, Shared
from fedseal_crypto.masking._errors import (
    AbandonmentsInvalid,
    CohortTooSmall,
    DuplicateMember,
    SharesRefused,
    UnknownMember,
    Violation,
)
from fedseal_crypto.masking._keys import KeyPair, PublicKeyInvalid
from fedseal_crypto.masking._keystream import Mask, apply_masks
from fedseal_crypto.masking._members import COORDINATOR, check_context, key_refused
from fedseal_crypto.masking._messages import (
    Advertisement,
    MaskedInput,
    MaskedInputHeader,
    RevealedShare,
    SealedShare,
    ShareBundle,
    ShareDelivery,
    Unmasking,
)
from fedseal_crypto.masking._parameters import DIGEST_SIZE, MAXIMUM_ABANDONED, ClientId, MemberIndex, RoundParameters
from fedseal_crypto.masking._session import Session
from fedseal_crypto.masking._shamir import split_secret
from fedseal_crypto.masking._shares import (
    SharePair,
    channel_key,
    graph_commitment,
    pair_mask_key,
    self_mask_commitment,
    self_mask_key,
)
from fedseal_crypto.masking._states import Step
from fedseal_crypto.secret import SecretBytes


def sorted_abandonments(contexts: Iterable[bytes]) -> tuple[bytes, ...]:
    """The contexts as an advertisement lists them.

    Raises:
        AbandonmentsInvalid: More than receivers read, or one that is no context.
    """
    distinct = tuple(sorted(set(contexts)))
    if len(distinct) > MAXIMUM_ABANDONED:
        raise AbandonmentsInvalid(
            f"{len(distinct)} attempts of this round were given up; an advertisement names at most "
            f"{MAXIMUM_ABANDONED}. End the job: a round that failed so often will not be completed."
        )
    if any(len(context) != DIGEST_SIZE for context in distinct):
        raise AbandonmentsInvalid(f"an abandoned attempt is named by its first context, {DIGEST_SIZE} bytes.")
    return distinct


def build_advertisement(
    parameters: RoundParameters,
    identity: IdentityKey,
    name: ClientId,
    secrets: Secrets,
    abandoned: tuple[bytes, ...],
) -> Advertisement:
    """The signed public keys and commitments."""
    context0 = parameters.context0()
    nonce = secrets.nonce
    unsigned = Advertisement(
        client=name,
        context0=context0,
        identity=bytes.fromhex(identity.public.key_id),
        mask_key=secrets.mask.public,
        channel_key=secrets.channel.public,
        commitment=self_mask_commitment(secrets.seed, context0, name),
        graph_commitment=b"" if nonce is None else graph_commitment(nonce.reveal(), context0, name),
        abandoned=abandoned,
        signature=b"",
    )
    return replace(unsigned, signature=identity.sign(unsigned.signed()))


def build_bundle(
    session: Session, secrets: Secrets, identity: IdentityKey, entropy: Entropy
) -> tuple[ShareBundle, Shared]:
    """Shares of both secrets, sealed for each peer, and what to remember.

    Raises:
        KeyRefused: A peer's key is of low order.
    """
    own, pairs = _split(session, secrets, entropy)
    roster, context, me = session.parameters.roster, session.context, session.name
    sealed, opening, masks = [], {}, {}
    for peer in session.peers:
        theirs = session.advertisements[peer]
        agreed = _agree(secrets.channel, theirs.client, theirs.channel_key)
        sending = channel_key(agreed, context, sender=me, receiver=roster[peer])
        sealed.append(SealedShare(member=peer, sealed=sending.seal(pairs[peer])))
        opening[peer] = channel_key(agreed, context, sender=roster[peer], receiver=me)
        agreed = _agree(secrets.mask, theirs.client, theirs.mask_key)
        masks[peer] = pair_mask_key(agreed, context, me, roster[peer])
    unsigned = ShareBundle(client=me, context=context, shares=tuple(sealed), signature=b"")
    bundle = replace(unsigned, signature=identity.sign(unsigned.signed()))
    return bundle, Shared(session=session, seed=secrets.seed, own=own, opening=opening, masks=masks)


def open_delivery(memory: Shared, delivery: ShareDelivery) -> dict[MemberIndex, SharePair]:
    """The shares that this member holds, by owner, its own included.

    Raises:
        ProtocolViolation: The delivery is for someone else, has a stranger, or a share that does not open,
            or there are too few.
    """
    session = memory.session
    check_context(delivery.context, session.context, step=Step.SHARE, party=COORDINATOR)
    if delivery.receiver != session.name:
        raise SharesRefused(
            Violation(
                step=Step.SHARE,
                party=COORDINATOR,
                got=f"shares for {delivery.receiver}",
                expected=f"shares for {session.name}",
            )
        )
    held = {session.me: memory.own}
    for share in delivery.shares:
        if share.member in held:
            raise DuplicateMember(
                Violation(step=Step.SHARE, party=COORDINATOR, got="two shares of one member", expected="one of each")
            )
        key = memory.opening.get(share.member)
        if key is None:
            raise UnknownMember(
                Violation(
                    step=Step.SHARE,
                    party=COORDINATOR,
                    got=f"a share of member number {share.member}",
                    expected="shares of members that this node shares with",
                )
            )
        held[share.member] = key.open(share.sealed, sender=session.parameters.roster[share.member])
    _check_enough(session, len(held))
    return held


def build_masked_input(
    memory: Shared, identity: IdentityKey, words: RingVector, *, peers: Iterable[MemberIndex], workers: int
) -> MaskedInput:
    """The masked copy of `words`, with its signed digest.

    y = x + PRG(self) + sum over later peers of PRG(pair) - sum over earlier peers of PRG(pair).

    Raises:
        RingMismatch: `words` has not the agreed layout.
    """
    session = memory.session
    if words.shape != session.parameters.shape:
        raise RingMismatch("the contribution was encoded with another layout than the round's.")
    masks = [Mask(self_mask_key(memory.seed, session.context, session.name), add=True)]
    masks += [Mask(memory.masks[peer], add=peer > session.me) for peer in peers if peer != session.me]
    masked = words.copy()
    apply_masks(masked, masks, workers=workers)
    unsigned = MaskedInputHeader(client=session.name, context=session.context, digest=masked.digest(), signature=b"")
    header = replace(unsigned, signature=identity.sign(unsigned.signed()))
    return header.with_words(masked)


def build_unmasking(memory: Confirmed, identity: IdentityKey) -> Unmasking:
    """Exactly one share for each owner: the kind follows from whether it survived."""
    session = memory.session
    self_mask, pairwise = [], []
    for owner in sorted(memory.held):
        pair = memory.held[owner]
        if owner in memory.survivors:
            self_mask.append(RevealedShare(owner=owner, share=pair.self_mask.reveal()))
        else:
            pairwise.append(RevealedShare(owner=owner, share=pair.pairwise.reveal()))
    unsigned = Unmasking(
        client=session.name,
        context=session.context,
        self_mask=tuple(self_mask),
        pairwise=tuple(pairwise),
        signature=b"",
    )
    return replace(unsigned, signature=identity.sign(unsigned.signed()))


def _split(session: Session, secrets: Secrets, entropy: Entropy) -> tuple[SharePair, Mapping[MemberIndex, SharePair]]:
    threshold = session.parameters.threshold
    # A share's evaluation point is its holder's position plus one, never 0: that would be the secret.
    points = [holder + 1 for holder in session.holders]
    seeds = split_secret(secrets.seed.reveal(), threshold=threshold, holders=points, entropy=entropy)
    keys = split_secret(secrets.mask.secret.reveal(), threshold=threshold, holders=points, entropy=entropy)
    pairs = {
        holder: SharePair(SecretBytes(seeds[holder + 1]), SecretBytes(keys[holder + 1])) for holder in session.holders
    }
    return pairs[session.me], pairs


def _agree(pair: KeyPair, client: ClientId, public: bytes) -> bytes:
    try:
        return pair.agree(public)
    except PublicKeyInvalid as error:
        raise key_refused(client, public) from error


def _check_enough(session: Session, held: int) -> None:
    # On a sparse graph only the neighbours' shares are seen here; the whole cohort is checked with the
    # survivors.
    complete = session.graph.degree is None
    needed = session.parameters.smallest_sum if complete else session.parameters.threshold
    if held < needed:
        raise CohortTooSmall(
            Violation(
                step=Step.SHARE,
                party=COORDINATOR,
                got=f"shares of {held} members, this node included",
                expected=f"at least {needed}",
            )
        )
