"""Keys at rest: sealed, split among organisations, and put together again."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from fedseal_crypto.errors import MisuseError
from fedseal_crypto.homomorphic import (
    KeyFile,
    OpenedShare,
    Passphrase,
    SealRefused,
    SecretContext,
    ShareRefused,
    SharesInsufficient,
    SplitKey,
    WrongLock,
    generate_keys,
    new_key_file,
    open_share,
    parameters_named,
    reassemble_key,
    reassemble_keys,
    seal_key,
    sealed_facts,
    split_key,
    unseal_key,
)
from fedseal_crypto.secret import SecretBytes

SET = parameters_named("bfv-4096-48")
Change = Callable[[bytes], bytes]
NAMES = ("Cleveland Clinic", "Hôpital de Zürich", "Long Beach")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scrypt at its real cost is in one test; elsewhere a cheap one, so that the rest takes no minutes."""
    monkeypatch.setattr("fedseal_crypto.homomorphic._locks._SCRYPT_N", 1 << 4)


@pytest.fixture
def split(quick: None, keys: Mapping[str, SecretContext]) -> SplitKey:
    return split_key(keys[SET.name], threshold=2, holders={name: phrase(name) for name in NAMES})


def phrase(text: str) -> Passphrase:
    return Passphrase(SecretBytes(f"passphrase of {text}".encode()))


def opened(split: SplitKey, *names: str) -> list[OpenedShare]:
    return [open_share(split.shares[name], passphrase=phrase(name)) for name in names]


def works(found: SecretContext, original: SecretContext) -> bool:
    """Whether it decrypts what was encrypted under the original."""
    values = np.arange(SET.slots)
    return bool((found.library.decrypt(original.public.library.encrypt(values)) == values).all())


def test_a_passphrase_at_its_real_cost(keys: Mapping[str, SecretContext]) -> None:
    sealed = seal_key(keys[SET.name], lock=phrase("custodian"))
    assert works(unseal_key(sealed, lock=phrase("custodian")), keys[SET.name])


def test_a_key_file(keys: Mapping[str, SecretContext]) -> None:
    lock = KeyFile(new_key_file())
    sealed = seal_key(keys[SET.name], lock=lock)
    found = unseal_key(sealed, lock=lock)
    assert works(found, keys[SET.name])
    assert found.public.key_digest == keys[SET.name].public.key_digest
    assert sealed != seal_key(keys[SET.name], lock=lock)
    with pytest.raises(WrongLock, match="key file does not open"):
        unseal_key(sealed, lock=KeyFile(new_key_file()))


def test_the_wrong_passphrase_and_the_wrong_kind_of_lock(quick: None, keys: Mapping[str, SecretContext]) -> None:
    sealed = seal_key(keys[SET.name], lock=phrase("custodian"))
    with pytest.raises(WrongLock, match="passphrase does not open the sealed key"):
        unseal_key(sealed, lock=phrase("somebody"))
    with pytest.raises(SealRefused, match="opens with a passphrase, not with a key file"):
        unseal_key(sealed, lock=KeyFile(new_key_file()))


def test_empty_locks_are_refused() -> None:
    with pytest.raises(MisuseError, match="empty passphrase"):
        Passphrase(SecretBytes(b""))
    with pytest.raises(MisuseError, match="32 bytes"):
        KeyFile(SecretBytes(bytes(31)))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param(lambda _: b"", SealRefused, id="nothing"),
        pytest.param(lambda data: data[:80], SealRefused, id="cut"),
        pytest.param(lambda data: b"X" + data[1:], SealRefused, id="magic"),
        pytest.param(lambda data: data[:8] + b"\xff\xff" + data[10:], SealRefused, id="no such set"),
        pytest.param(lambda data: data[:10] + b"\x09" + data[11:], SealRefused, id="no such lock"),
        pytest.param(lambda data: data[:8] + b"\0\x02" + data[10:], WrongLock, id="another set"),
        pytest.param(lambda data: data[:20] + b"\0\0" + data[22:], WrongLock, id="another digest"),
        pytest.param(lambda data: data[:-1], WrongLock, id="one byte short"),
        pytest.param(lambda data: data[:-1] + bytes([data[-1] ^ 1]), WrongLock, id="one bit changed"),
    ],
)
def test_changed_seals_do_not_open(change: Change, error: type[SealRefused], keys: Mapping[str, SecretContext]) -> None:
    """Everything readable is bound into the seal, so it cannot be swapped either."""
    lock = KeyFile(SecretBytes(bytes(range(32))))
    sealed = change(seal_key(keys[SET.name], lock=lock))
    with pytest.raises(error):
        unseal_key(sealed, lock=lock)


def test_the_same_shares_open_a_key_that_was_split_beside(quick: None, keys: Mapping[str, SecretContext]) -> None:
    """And no key of another splitting."""
    second = generate_keys(SET)
    holders = {name: phrase(name) for name in NAMES}
    split = split_key(keys[SET.name], threshold=2, holders=holders, beside=second)
    first, found = reassemble_keys(split.sealed, split.beside, opened(split, *NAMES[1:]))
    assert found is not None
    assert works(first, keys[SET.name])
    assert works(found, second)
    again = split_key(keys[SET.name], threshold=2, holders=holders, beside=second)
    with pytest.raises(WrongLock):
        reassemble_keys(split.sealed, again.beside, opened(split, *NAMES[1:]))
    with pytest.raises(SharesInsufficient):
        reassemble_keys(split.sealed, split.beside, opened(split, NAMES[0]))


@pytest.mark.parametrize("names", [*list(itertools.permutations(NAMES, 2)), NAMES], ids="+".join)
def test_any_two_of_three_open_it(names: tuple[str, ...], split: SplitKey, keys: Mapping[str, SecretContext]) -> None:
    assert works(reassemble_key(split.sealed, opened(split, *names)), keys[SET.name])


@pytest.mark.parametrize("names", [(), NAMES[:1]])
def test_fewer_do_not(names: tuple[str, ...], split: SplitKey) -> None:
    with pytest.raises(SharesInsufficient, match=f"{len(names)} shares"):
        reassemble_key(split.sealed, opened(split, *names))


def test_one_share_twice_is_one_share(split: SplitKey) -> None:
    with pytest.raises(ShareRefused, match="twice"):
        reassemble_key(split.sealed, opened(split, NAMES[0], NAMES[0]))


def test_shares_of_another_splitting_or_key(split: SplitKey, keys: Mapping[str, SecretContext]) -> None:
    again = split_key(keys[SET.name], threshold=2, holders={name: phrase(name) for name in NAMES})
    other = split_key(generate_keys(SET), threshold=2, holders={name: phrase(name) for name in NAMES})
    for stranger in (again, other):
        with pytest.raises(ShareRefused, match=NAMES[1]):
            reassemble_key(split.sealed, [*opened(split, NAMES[0]), *opened(stranger, NAMES[1])])


def test_a_forged_share_is_noticed(split: SplitKey) -> None:
    one, two = opened(split, *NAMES[:2])
    for secret in (bytes(33), b"\xff" * 33):
        with pytest.raises(SharesInsufficient, match="wrong"):
            reassemble_key(split.sealed, [one, dataclasses.replace(two, secret=SecretBytes(secret))])


def test_a_share_opens_with_its_own_passphrase_only(split: SplitKey) -> None:
    with pytest.raises(WrongLock, match=f"share of {NAMES[0]}"):
        open_share(split.shares[NAMES[0]], passphrase=phrase(NAMES[1]))


def test_facts_without_opening(split: SplitKey, keys: Mapping[str, SecretContext]) -> None:
    digest = keys[SET.name].public.key_digest
    key, share = sealed_facts(split.sealed), sealed_facts(split.shares[NAMES[1]])
    assert (key.parameters, key.key_digest, key.lock, key.holder) == (SET, digest, "shares", None)
    assert (share.key_digest, share.holder, share.threshold, share.holders) == (digest, NAMES[1], 2, 3)
    assert share.lock == "passphrase"
    assert "redacted" in repr(opened(split, NAMES[0]))


@pytest.mark.parametrize("at", [10, 43 + 16, 43 + 17, 43 + 18, 43 + 19, 43 + 21])
def test_a_changed_share_does_not_open(at: int, split: SplitKey) -> None:
    share = bytearray(split.shares[NAMES[1]])
    share[at] ^= 0xFF
    with pytest.raises(SealRefused):
        open_share(bytes(share), passphrase=phrase(NAMES[1]))


def test_a_key_is_no_share_and_a_share_no_key(split: SplitKey) -> None:
    with pytest.raises(SealRefused, match="not a key share"):
        open_share(split.sealed, passphrase=phrase("x"))
    with pytest.raises(SealRefused, match="not a sealed key"):
        unseal_key(split.shares[NAMES[0]], lock=phrase(NAMES[0]))
    with pytest.raises(SealRefused, match="with shares of several"):
        unseal_key(split.sealed, lock=phrase("x"))


def test_a_key_under_a_passphrase_needs_no_shares(split: SplitKey, keys: Mapping[str, SecretContext]) -> None:
    sealed = seal_key(keys[SET.name], lock=phrase("custodian"))
    with pytest.raises(SealRefused, match="not with shares"):
        reassemble_key(sealed, opened(split, *NAMES[:2]))


@pytest.mark.parametrize(("threshold", "count"), [(1, 3), (4, 3), (2, 1), (2, 256)])
def test_impossible_splittings(threshold: int, count: int, keys: Mapping[str, SecretContext]) -> None:
    holders = {f"organisation {i}": phrase(str(i)) for i in range(count)}
    with pytest.raises(MisuseError, match=f"{threshold} of {count}"):
        split_key(keys[SET.name], threshold=threshold, holders=holders)


@pytest.mark.parametrize("name", ["", "x" * 256])
def test_impossible_names(name: str, keys: Mapping[str, SecretContext]) -> None:
    with pytest.raises(MisuseError, match="1 to 255"):
        split_key(keys[SET.name], threshold=2, holders={name: phrase("a"), "b": phrase("b")})
