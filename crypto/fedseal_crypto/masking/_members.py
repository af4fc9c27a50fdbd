"""Bitmaps over the roster, and checks that both roles make on signed messages."""

from collections.abc import Iterable, Mapping
from typing import final

from fedseal_crypto.identity import PublicIdentity, SignatureInvalid
from fedseal_crypto.masking._errors import (
    ContextMismatch,
    IdentityMismatch,
    KeyRefused,
    ParametersInvalid,
    SignatureRefused,
    SurvivorsRefused,
    UnknownMember,
    Violation,
)
from fedseal_crypto.masking._keys import PublicKeyInvalid, check_public_key, is_canonical
from fedseal_crypto.masking._messages import (
    Advertisement,
    Confirmation,
    MaskedInputHeader,
    ShareBundle,
    Unmasking,
)
from fedseal_crypto.masking._parameters import ClientId, MemberIndex, RoundParameters
from fedseal_crypto.masking._states import Step

COORDINATOR = "coordinator"  # the party to blame for what only the server can have done

# Which bits of a byte are set, lowest first.
_SET_BITS = tuple(tuple(bit for bit in range(8) if byte >> bit & 1) for byte in range(256))

SignedMessage = Advertisement | ShareBundle | MaskedInputHeader | Confirmation | Unmasking


@final
class Members:
    """The roster with its certified identities.

    Args:
        parameters: The attempt.
        identities: At least every member of the roster; verified certificates are the caller's business.

    Raises:
        ParametersInvalid: A member has no identity, or two members have the same.
    """

    def __init__(self, parameters: RoundParameters, identities: Mapping[ClientId, PublicIdentity]) -> None:
        missing = [member for member in parameters.roster if member not in identities]
        if missing:
            raise ParametersInvalid(f"the member {missing[0]!r} has no certified identity.")
        self._identities = tuple(identities[member] for member in parameters.roster)
        if len({identity.raw for identity in self._identities}) != len(self._identities):
            raise ParametersInvalid("two members of the roster have the same identity key.")
        self._index = {member: MemberIndex(i) for i, member in enumerate(parameters.roster)}

    def index(self, member: ClientId, step: Step) -> MemberIndex:
        """The member's position.

        Raises:
            UnknownMember: It is not in the roster.
        """
        index = self._index.get(member)
        if index is None:
            raise UnknownMember(
                Violation(step=step, party=member, got="a message from it", expected="a member of the roster")
            )
        return index

    def check_signature(self, message: SignedMessage, step: Step) -> MemberIndex:
        """The sender's position, once its signature has verified.

        Raises:
            UnknownMember: The sender is not in the roster.
            SignatureRefused: The signature does not verify.
        """
        index = self.index(message.client, step)
        try:
            self._identities[index].verify(message.signature, message.signed())
        except SignatureInvalid as error:
            raise SignatureRefused(
                Violation(
                    step=step,
                    party=message.client,
                    got=f"a {type(message).__name__} whose signature does not verify",
                    expected="a signature by the member's certified identity",
                )
            ) from error
        return index

    def check_advertisement(self, message: Advertisement, *, context0: bytes, sparse: bool) -> MemberIndex:
        """The sender's position, once all but the keys of one advertisement has been checked.

        Raises:
            ProtocolViolation: Context, identity, signature or graph commitment are refused.
        """
        step = Step.ADVERTISE
        check_context(message.context0, context0, step=step, party=message.client)
        index = self.index(message.client, step)
        if message.identity.hex() != self._identities[index].key_id:
            raise IdentityMismatch(
                Violation(
                    step=step,
                    party=message.client,
                    got=f"identity {message.identity.hex()[:16]}…",
                    expected=f"the certified identity {self._identities[index].key_id[:16]}…",
                )
            )
        self.check_signature(message, step)
        if bool(message.graph_commitment) != sparse:
            raise ContextMismatch(
                Violation(
                    step=step,
                    party=message.client,
                    got="a graph commitment" if message.graph_commitment else "no graph commitment",
                    expected="one exactly on a sparse graph",
                )
            )
        return index


def check_context(got: bytes, expected: bytes, *, step: Step, party: str) -> None:
    """Refuse a message of another attempt.

    Raises:
        ContextMismatch: The contexts differ.
    """
    if got != expected:
        raise ContextMismatch(
            Violation(
                step=step,
                party=party,
                got=f"context {got.hex()[:16]}…",
                expected=f"context {expected.hex()[:16]}…; the parties were told different things",
            )
        )


def check_keys(message: Advertisement) -> None:
    """Refuse an advertisement with a key that is not canonical or of low order.

    Raises:
        KeyRefused: It has one.
    """
    for key in (message.mask_key, message.channel_key):
        try:
            check_public_key(key)
        except PublicKeyInvalid as error:
            raise key_refused(message.client, key) from error


def check_distinct_keys(advertisements: Iterable[Advertisement]) -> None:
    """Refuse a roster in which a public key is not canonical or appears twice, in a member or across members.

    Raises:
        KeyRefused: One does.
    """
    owners: dict[bytes, ClientId] = {}
    for advertisement in advertisements:
        check_new_keys(advertisement, owners)
        owners.update(dict.fromkeys((advertisement.mask_key, advertisement.channel_key), advertisement.client))


def check_new_keys(advertisement: Advertisement, owners: Mapping[bytes, ClientId]) -> None:
    """Refuse an advertisement with a key that is not canonical, used for both purposes, or advertised before.

    Args:
        advertisement: The new one.
        owners: All keys so far, with who advertised them.

    Raises:
        KeyRefused: It has one.
    """
    keys = (advertisement.mask_key, advertisement.channel_key)
    for key in keys:
        if not is_canonical(key):
            raise key_refused(advertisement.client, key)
    taken = [owners[key] for key in keys if key in owners]
    if taken or keys[0] == keys[1]:
        raise KeyRefused(
            Violation(
                step=Step.ADVERTISE,
                party=advertisement.client,
                got=f"a key that {taken[0]} advertised too" if taken else "one key advertised for both uses",
                expected="two fresh keys of its own",
            )
        )


def key_refused(client: ClientId, key: bytes) -> KeyRefused:
    """The error for an unusable public key."""
    return KeyRefused(
        Violation(
            step=Step.ADVERTISE,
            party=client,
            got=f"the key {key.hex()[:16]}…",
            expected="a canonical X25519 key that is not of low order",
        )
    )


def to_bitmap(members: Iterable[MemberIndex], size: int) -> bytes:
    """One bit a member, lowest bit first, padded with zeros."""
    out = bytearray(-(-size // 8))
    for member in members:
        out[member // 8] |= 1 << (member % 8)
    return bytes(out)


def from_bitmap(bitmap: bytes, size: int) -> frozenset[MemberIndex]:
    """The members of a bitmap over a roster of `size`.

    Raises:
        SurvivorsRefused: It has another length, or a bit beyond the roster.
    """
    if len(bitmap) != -(-size // 8) or (size % 8 and bitmap[-1] >> size % 8):
        raise SurvivorsRefused(
            Violation(
                step=Step.CONFIRM,
                party=COORDINATOR,
                got=f"a bitmap of {len(bitmap)} bytes",
                expected=f"one bit for each of the {size} members",
            )
        )
    return frozenset(MemberIndex(8 * place + bit) for place, byte in enumerate(bitmap) for bit in _SET_BITS[byte])
