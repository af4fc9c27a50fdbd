"""A job's secret key at rest: sealed under one lock, or under a key that k of n organisations share.

Split custody protects the key while nobody uses it: fewer than k organisations, or a thief with the sealed file
and fewer than k shares, learn nothing. Once k have opened their shares for a job the key is whole in the
custodian's process, and whoever controls that process then can decrypt anything. That is the difference to
threshold decryption, where the key is never whole.

    sealed key   magic 8 | set 2 | lock 1 | key digest 32 | sealed secret context
    share        magic 8 | set 2 | lock 1 | key digest 32 | sealing 16 | threshold 1 | holders 1 | number 1 |
                 name length 1 | holder's name | sealed share of 33 bytes

The splitting is that of `fedseal_crypto.shamir` (Shamir, CACM 22(11), 1979): the 32-byte key of the seal is shared,
not the secret key itself, so the seal also checks that the shares were right.
"""

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from google.protobuf.message import DecodeError

from fedseal_crypto.digests import Digest
from fedseal_crypto.errors import MisuseError
from fedseal_crypto.homomorphic._contexts import SECRET_MAGIC, SecretContext
from fedseal_crypto.homomorphic._errors import (
    ParametersUnknown,
    SealRefused,
    ShareRefused,
    SharesInsufficient,
    WrongLock,
)
from fedseal_crypto.homomorphic._locks import SEALED_EXTRA, KeyFile, Lock, Passphrase, lock_up, unlock
from fedseal_crypto.homomorphic._parameters import Parameters, parameters_numbered
from fedseal_crypto.homomorphic._tenseal import Library
from fedseal_crypto.secret import SecretBytes
from fedseal_crypto.shamir import ShareInvalid, recover_secret, split_secret

SEALED_MAGIC = b"FSHESLD\x01"
SHARE_MAGIC = b"FSHESHR\x01"
MAXIMUM_HOLDERS = 255
_HEAD = struct.Struct(">8sHB32s")
_SHARE_HEAD = struct.Struct(">16sBBBB")
_SHARED_LOCK = 3  # beside the codes of Passphrase and KeyFile
_SHARE_SIZE = 33
_ID = 16


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SealedFacts:
    """What a sealed key or share says without being opened.

    Attributes:
        parameters: The key's parameter set.
        key_digest: Of the matching public context.
        lock: "passphrase", "key file" or "shares".
        holder: Of a share, the organisation; None for a key.
        threshold: Of a share, how many open the key; None for a key.
        holders: Of a share, how many there are; None for a key.
    """

    parameters: Parameters
    key_digest: Digest
    lock: str
    holder: str | None = None
    threshold: int | None = None
    holders: int | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SplitKey:
    """A sealed key and the shares that open it.

    Attributes:
        sealed: For the custodian; useless without the shares.
        shares: One for each organisation, sealed under its own passphrase.
        beside: A second key that the same shares open; empty if there is none.
    """

    sealed: bytes
    shares: Mapping[str, bytes]
    beside: bytes = b""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedShare:
    """One organisation's share, opened for a ceremony; its secret is not shown.

    Attributes:
        facts: What the share says.
        sealing: 16 bytes that name the splitting it comes from.
        number: Its evaluation point, 1 to 255.
        secret: 33 bytes.
    """

    facts: SealedFacts
    sealing: bytes
    number: int
    secret: SecretBytes


def seal_key(secret: SecretContext, *, lock: Lock) -> bytes:
    """The secret key for a file, under a passphrase or key file.

    Raises:
        KeyDestroyed: The key is gone.
    """
    head = _head(SEALED_MAGIC, secret, lock.code)
    return head + lock_up(_plain(secret), lock=lock, associated=head)


def unseal_key(sealed: bytes, *, lock: Lock) -> SecretContext:
    """The secret key behind `sealed`.

    Raises:
        SealRefused: These bytes are not a sealed key, or it opens with shares, or with another kind of lock.
        WrongLock: The lock does not open it.
    """
    facts, body = _read_head(sealed, SEALED_MAGIC, "a sealed key")
    kind = "passphrase" if isinstance(lock, Passphrase) else "key file"
    if facts.lock != kind:
        raise SealRefused(f"this key opens with {_WITH[facts.lock]}, not with a {kind}.")
    return _open(sealed, facts, unlock(body, lock=lock, associated=sealed[: _HEAD.size], what="the sealed key"))


def split_key(
    secret: SecretContext,
    *,
    threshold: int,
    holders: Mapping[str, Passphrase],
    beside: SecretContext | None = None,
) -> SplitKey:
    """Seal the key so that any `threshold` of the organisations open it together.

    Args:
        secret: The key.
        threshold: 2 to the number of holders.
        holders: Organisation to the passphrase that seals its share; 2 to 255, names of 1 to 255 bytes.
        beside: A second key of the same job, which the same shares open.

    Raises:
        MisuseError: One of these does not hold.
        KeyDestroyed: The key is gone.
    """
    if not 2 <= threshold <= len(holders) <= MAXIMUM_HOLDERS:
        raise MisuseError(
            f"{threshold} of {len(holders)} organisations is not possible; take 2 to {MAXIMUM_HOLDERS} organisations "
            "and a threshold from 2 to their number."
        )
    if any(not 1 <= len(name.encode()) <= 255 for name in holders):
        raise MisuseError("an organisation's name has 1 to 255 bytes.")
    key, sealing = os.urandom(32), os.urandom(_ID)
    lock = KeyFile(SecretBytes(key))
    numbers = range(1, len(holders) + 1)
    pieces = split_secret(key, threshold=threshold, holders=numbers, entropy=os.urandom)
    shares = {}
    for number, (name, passphrase) in zip(numbers, holders.items(), strict=True):
        label = _SHARE_HEAD.pack(sealing, threshold, len(holders), number, len(name.encode())) + name.encode()
        start = _head(SHARE_MAGIC, secret, passphrase.code) + label
        shares[name] = start + lock_up(pieces[number], lock=passphrase, associated=start)
    second = b"" if beside is None else _sealed_for_shares(beside, sealing, lock)
    return SplitKey(sealed=_sealed_for_shares(secret, sealing, lock), shares=shares, beside=second)


def open_share(share: bytes, *, passphrase: Passphrase) -> OpenedShare:
    """Open one organisation's share for a ceremony.

    Raises:
        SealRefused: These bytes are not a share.
        WrongLock: The passphrase does not open it.
    """
    facts, sealing, number, start = _read_share(share)
    body = share[len(start) :]
    secret = unlock(body, lock=passphrase, associated=start, what=f"the share of {facts.holder}")
    return OpenedShare(facts=facts, sealing=sealing, number=number, secret=SecretBytes(secret))


def _sealed_for_shares(secret: SecretContext, sealing: bytes, lock: KeyFile) -> bytes:
    start = _head(SEALED_MAGIC, secret, _SHARED_LOCK) + sealing
    return start + lock_up(_plain(secret), lock=lock, associated=start)


def reassemble_key(sealed: bytes, shares: Sequence[OpenedShare]) -> SecretContext:
    """The secret key, from the sealed file and enough opened shares.

    Raises:
        SealRefused: The sealed key is not one that shares open.
        ShareRefused: A share is of another key or splitting, or comes twice.
        SharesInsufficient: Too few, or together they do not give the key.
    """
    return reassemble_keys(sealed, b"", shares)[0]


def reassemble_keys(
    sealed: bytes, beside: bytes, shares: Sequence[OpenedShare]
) -> tuple[SecretContext, SecretContext | None]:
    """The secret key and the one that was split beside it, of which there is none where ``beside`` is empty.

    Raises:
        SealRefused, ShareRefused, SharesInsufficient: As `reassemble_key`, for either.
    """
    facts, body = _read_shared(sealed)
    sealing = body[:_ID]
    for share in shares:
        if share.facts.key_digest != facts.key_digest or share.sealing != sealing:
            raise ShareRefused(f"the share of {share.facts.holder} belongs to another key or another splitting of it.")
    numbers = [share.number for share in shares]
    if len(set(numbers)) < len(numbers):
        raise ShareRefused("one organisation's share was given twice; each counts once.")
    threshold = shares[0].facts.threshold if shares else None
    if threshold is None or len(shares) < threshold:
        raise SharesInsufficient(f"{len(shares)} shares were opened; this key needs {threshold or 'at least 2'}.")
    try:
        key = KeyFile(SecretBytes(recover_secret({one.number: one.secret.reveal() for one in shares[:threshold]})))
        plain = unlock(body[_ID:], lock=key, associated=sealed[: _HEAD.size + _ID], what="the sealed key")
    except (ShareInvalid, WrongLock) as error:
        raise SharesInsufficient("the shares together do not open the key; one of them is wrong.") from error
    secret = _open(sealed, facts, plain)
    if not beside:
        return secret, None
    own, body = _read_shared(beside)
    plain = unlock(body[_ID:], lock=key, associated=beside[: _HEAD.size + _ID], what="the second key")
    return secret, _open(beside, own, plain)


def _read_shared(sealed: bytes) -> tuple[SealedFacts, bytes]:
    facts, body = _read_head(sealed, SEALED_MAGIC, "a sealed key")
    if facts.lock != "shares":
        raise SealRefused(f"this key opens with {_WITH[facts.lock]}, not with shares.")
    return facts, body


def sealed_facts(data: bytes) -> SealedFacts:
    """What a sealed key or share says about itself; nothing of it is proven before it is opened.

    Raises:
        SealRefused: It is neither.
    """
    if data[: len(SHARE_MAGIC)] == SHARE_MAGIC:
        return _read_share(data)[0]
    return _read_head(data, SEALED_MAGIC, "a sealed key or share")[0]


_LOCKS = {Passphrase.code: "passphrase", KeyFile.code: "key file", _SHARED_LOCK: "shares"}
_WITH = {"passphrase": "a passphrase", "key file": "a key file", "shares": "shares of several organisations"}


def _plain(secret: SecretContext) -> bytes:
    return SECRET_MAGIC + secret.library.secret_bytes()


def _head(magic: bytes, secret: SecretContext, code: int) -> bytes:
    return _HEAD.pack(magic, secret.parameters.number, code, bytes.fromhex(secret.public.key_digest))


def _read_head(data: bytes, magic: bytes, what: str) -> tuple[SealedFacts, bytes]:
    if data[: len(magic)] != magic or len(data) < _HEAD.size + SEALED_EXTRA:
        raise SealRefused(f"these bytes are not {what}: they begin otherwise or are too short.")
    _, number, code, digest = _HEAD.unpack_from(data)
    try:
        parameters, lock = parameters_numbered(number), _LOCKS[code]
    except (ParametersUnknown, KeyError) as error:
        raise SealRefused(f"these bytes are not {what}: parameter set or lock does not exist.") from error
    return SealedFacts(parameters=parameters, key_digest=Digest(digest.hex()), lock=lock), data[_HEAD.size :]


def _read_share(share: bytes) -> tuple[SealedFacts, bytes, int, bytes]:
    facts, body = _read_head(share, SHARE_MAGIC, "a key share")
    sealing, threshold, holders, number, length = _SHARE_HEAD.unpack_from(body)
    start = share[: _HEAD.size + _SHARE_HEAD.size + length]
    if len(share) != len(start) + _SHARE_SIZE + SEALED_EXTRA or not 2 <= threshold <= holders >= number >= 1:
        raise SealRefused("these bytes are not a key share: the lengths or numbers in it are impossible.")
    try:
        name = start[_HEAD.size + _SHARE_HEAD.size :].decode()
    except UnicodeDecodeError as error:
        raise SealRefused("these bytes are not a key share: the holder's name is not text.") from error
    full = SealedFacts(
        parameters=facts.parameters,
        key_digest=facts.key_digest,
        lock=facts.lock,
        holder=name,
        threshold=threshold,
        holders=holders,
    )
    return full, sealing, number, start


def _open(sealed: bytes, facts: SealedFacts, plain: bytes) -> SecretContext:
    try:
        secret = SecretContext(Library.with_secret_key(facts.parameters, plain[len(SECRET_MAGIC) :]))
    except (ValueError, RuntimeError, DecodeError) as error:
        raise SealRefused("the sealed key opened, but the encryption library does not accept it.") from error
    if secret.public.key_digest != facts.key_digest:
        raise SealRefused(f"the sealed key of {len(sealed)} bytes is not the key that its label names.")
    return secret
