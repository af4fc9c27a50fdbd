"""Public and secret contexts: what they refuse, and that a secret does not show."""

import copy
import dataclasses
import pickle
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import tenseal as ts
from hypothesis import given, settings
from hypothesis import strategies as st

from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.encoding import Layout
from fedseal_crypto.errors import MisuseError
from fedseal_crypto.homomorphic import (
    PARAMETERS,
    ContextRefused,
    KeyDestroyed,
    KeyFile,
    LibraryFault,
    PublicContext,
    SecretContext,
    SecretKeyPresent,
    SlotPlan,
    encrypt_vector,
    find_secret_key,
    generate_keys,
    new_key_file,
    seal_key,
)
from fedseal_crypto.homomorphic._tenseal import Library

SET = PARAMETERS["bfv-4096-48"]
Change = Callable[[bytes], bytes]


def tenseal_context(*, secret: bool) -> bytes:
    context = ts.context(ts.SCHEME_TYPE.BFV, 4096, SET.plain_modulus, [60, 49], n_threads=1)
    return bytes(context.serialize(save_secret_key=secret))


def test_a_context_with_a_secret_key_is_refused_as_such(keys: Mapping[str, SecretContext]) -> None:
    ours = keys[SET.name].library.secret_bytes()
    for data in (tenseal_context(secret=True), ours, b"FSHESEC\x01" + ours, b"prefix FSHESEC\x01" + ours):
        assert find_secret_key(data)
        with pytest.raises(SecretKeyPresent, match="Delete them"):
            PublicContext.from_bytes(data, parameters=SET)


def test_public_things_hold_no_secret_key(keys: Mapping[str, SecretContext]) -> None:
    secret = keys[SET.name]
    sealed = seal_key(secret, lock=KeyFile(new_key_file()))
    for data in (secret.public.to_bytes(), tenseal_context(secret=False), sealed, b"", b"\x0a\x02hi"):
        assert not find_secret_key(data)
        assert not secret.appears_in(data)
    assert secret.appears_in(b"table row: " + secret.library.secret_bytes())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(lambda _: b"", "begin otherwise", id="nothing"),
        pytest.param(lambda _: tenseal_context(secret=False), "begin otherwise", id="a context of the library"),
        pytest.param(lambda data: data[:9], "begin otherwise", id="cut"),
        pytest.param(lambda data: data[:-1], "131081 bytes, not 131082", id="short"),
        pytest.param(lambda data: data + b"\0", "131083 bytes, not 131082", id="long"),
        pytest.param(lambda data: data + bytes(18_000_000), "bytes, not 131082", id="with Galois keys behind it"),
        pytest.param(lambda data: data[:8] + b"\0\x02" + data[10:], "bfv-4096-46", id="other set"),
        pytest.param(lambda data: data[:8] + b"\xff\xff" + data[10:], "does not exist", id="no set"),
        pytest.param(lambda data: data[:10] + b"\xff" * 8 + data[18:], "not a residue", id="too large"),
        pytest.param(lambda data: data[: 10 + 65_536] + bytes(65_536), "key is zero", id="zero key"),
    ],
)
def test_other_contexts_are_refused(change: Change, says: str, keys: Mapping[str, SecretContext]) -> None:
    data = keys[SET.name].public.to_bytes()
    with pytest.raises(ContextRefused, match=says):
        PublicContext.from_bytes(change(data), parameters=SET)


def test_the_pinned_digest_decides(keys: Mapping[str, SecretContext]) -> None:
    public = keys[SET.name].public
    assert public.key_digest == sha256_hex(public.to_bytes())
    read = PublicContext.from_bytes(public.to_bytes(), parameters=SET, key_digest=public.key_digest)
    assert (read.key_digest, read.to_bytes()) == (public.key_digest, public.to_bytes())
    with pytest.raises(ContextRefused, match="not the one with digest 0000"):
        PublicContext.from_bytes(public.to_bytes(), parameters=SET, key_digest=Digest("0" * 64))


@given(data=st.binary(max_size=64))
@settings(max_examples=100, deadline=None)
def test_any_bytes_have_a_typed_answer(data: bytes) -> None:
    with pytest.raises(ContextRefused):
        PublicContext.from_bytes(b"FSHEPUB\x01" + data, parameters=SET)


def test_a_public_context_cannot_be_made_of_a_private_one(keys: Mapping[str, SecretContext]) -> None:
    secret = keys[SET.name]
    assert not secret.public.library.is_private
    with pytest.raises(MisuseError, match="public key alone"):
        PublicContext(secret.library)
    with pytest.raises(MisuseError, match="needs a secret key"):
        SecretContext(secret.public.library)


def test_keys_are_fresh_each_time(keys: Mapping[str, SecretContext]) -> None:
    assert generate_keys(SET).public.key_digest != keys[SET.name].public.key_digest


def test_a_secret_context_neither_shows_nor_copies_itself(keys: Mapping[str, SecretContext]) -> None:
    secret = keys[SET.name]
    shown = f"{secret!r} {secret} {secret.public!r}"
    assert "<redacted>" in shown
    assert secret.public.key_digest[:16] in shown
    assert len(shown) < 300
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(MisuseError, match="seal it"):
            act(secret)


def test_a_destroyed_key_decrypts_nothing(small_plan: Callable[..., tuple[Layout, SlotPlan]]) -> None:
    layout, plan = small_plan()
    secret = generate_keys(plan.parameters)
    values = {spec.name: np.zeros(spec.length) for spec in layout.specs}
    words = layout.encode(values, generator=np.random.default_rng(0)).words
    bundle = encrypt_vector(words, plan=plan, public=secret.public)
    assert secret.decrypt_sum(bundle, plan=plan, count=1) == words
    secret.destroy()
    secret.destroy()
    assert secret.destroyed
    assert "destroyed" in repr(secret)
    with pytest.raises(KeyDestroyed):
        secret.decrypt_sum(bundle, plan=plan, count=1)
    with pytest.raises(KeyDestroyed):
        seal_key(secret, lock=KeyFile(new_key_file()))


def test_sets_for_sums_have_no_evaluation_keys(keys: Mapping[str, SecretContext]) -> None:
    with pytest.raises(MisuseError, match="sums need none"):
        keys[SET.name].evaluation_keys()


def test_the_library_s_secret_bytes_are_checked_too(keys: Mapping[str, SecretContext]) -> None:
    secret = keys[SET.name]
    with pytest.raises(ValueError, match="not a secret context"):
        Library.with_secret_key(SET, tenseal_context(secret=False))
    with pytest.raises(ValueError, match="not a secret context"):
        Library.with_secret_key(PARAMETERS["bfv-4096-46"], secret.library.secret_bytes())


def test_primes_that_the_library_does_not_choose_are_noticed() -> None:
    """The table is compared with what the library made; a smaller prime of the same size stands for a new version."""
    other = next(
        number
        for number in range(SET.primes[0] - 2 * SET.degree, 0, -2 * SET.degree)
        if pow(3, number - 1, number) == 1
    )
    with pytest.raises(LibraryFault, match="other primes"):
        Library.generate(dataclasses.replace(SET, primes=(other, SET.primes[1])))


def test_streams_of_another_form_are_noticed(
    keys: Mapping[str, SecretContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ciphertext at another level than asked for, and a stream with another magic number."""
    library = keys[SET.name].public.library
    monkeypatch.setattr("fedseal_crypto.homomorphic._tenseal._MAGIC", 0xA15F)
    with pytest.raises(LibraryFault, match="unknown form"):
        library.public_key()
    monkeypatch.undo()
    monkeypatch.setattr(library, "parameters", PARAMETERS["ckks-8192-scalars"])
    with pytest.raises(LibraryFault, match="another size or level"):
        library.public_key()
