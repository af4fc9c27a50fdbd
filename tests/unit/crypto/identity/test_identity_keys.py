import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedseal_crypto import identity
from fedseal_crypto.digests import DigestInvalid, parse_digest, sha256_hex
from fedseal_crypto.errors import MisuseError
from fedseal_crypto.identity import (
    Entropy,
    IdentityKey,
    KeyUnreadable,
    NameInvalid,
    PassphraseMissing,
    PublicIdentity,
    PublicKeyInvalid,
    SignatureInvalid,
    WrongPassphrase,
    parse_federation_name,
    parse_party_name,
)
from fedseal_crypto.secret import SecretBytes

PASSPHRASE = SecretBytes("längere Passphrase".encode())


def test_signs_as_rfc_8032_section_7_1_test_2_says() -> None:
    seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
    key = IdentityKey.from_seed(SecretBytes(bytes.fromhex(seed)))
    assert key.public.raw.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert key.sign(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


@given(message=st.binary(max_size=200), seed=st.binary(min_size=32, max_size=32), flip=st.integers(0, 511))
def test_a_signature_verifies_until_one_bit_of_it_changes(message: bytes, seed: bytes, flip: int) -> None:
    key = IdentityKey.from_seed(SecretBytes(seed))
    signature = bytearray(key.sign(message))
    key.public.verify(bytes(signature), message)
    signature[flip // 8] ^= 1 << flip % 8
    with pytest.raises(SignatureInvalid):
        key.public.verify(bytes(signature), message)


@pytest.mark.parametrize("signature", [b"", b"x" * 63, b"x" * 65])
def test_a_signature_of_the_wrong_length_is_invalid(signature: bytes, entropy: Entropy) -> None:
    with pytest.raises(SignatureInvalid):
        IdentityKey.generate(entropy).public.verify(signature, b"message")


def test_a_signature_has_one_spelling(entropy: Entropy) -> None:
    """S and S plus the group's order satisfy the same equation; RFC 8032, section 5.1.7, takes the smaller one."""
    key = IdentityKey.generate(entropy)
    signature = key.sign(b"message")
    other = int.from_bytes(signature[32:], "little") + 2**252 + 27742317777372353535851937790883648493
    with pytest.raises(SignatureInvalid):
        key.public.verify(signature[:32] + other.to_bytes(32, "little"), b"message")


def test_pem_round_trip_with_and_without_passphrase(entropy: Entropy) -> None:
    key = IdentityKey.generate(entropy)
    for passphrase in (None, PASSPHRASE):
        pem = key.to_pem(passphrase)
        assert (b"ENCRYPTED" in pem) is (passphrase is not None)
        assert IdentityKey.from_pem(pem, passphrase).public == key.public


def test_an_unencrypted_key_opens_even_when_a_passphrase_is_offered(entropy: Entropy) -> None:
    key = IdentityKey.generate(entropy)
    assert IdentityKey.from_pem(key.to_pem(None), PASSPHRASE).public == key.public


def test_wrong_and_missing_passphrases_are_said_in_one_sentence(entropy: Entropy) -> None:
    pem = IdentityKey.generate(entropy).to_pem(PASSPHRASE)
    with pytest.raises(WrongPassphrase, match="passphrase does not open the identity key"):
        IdentityKey.from_pem(pem, SecretBytes(b"guess"))
    with pytest.raises(PassphraseMissing, match="protected by a passphrase"):
        IdentityKey.from_pem(pem, None)
    with pytest.raises(MisuseError, match="empty passphrase"):
        IdentityKey.generate(entropy).to_pem(SecretBytes(b""))


@pytest.mark.parametrize(
    "pem",
    [b"", b"\x00" * 100, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", b"a" * 20_000],
)
def test_what_is_no_key_is_unreadable(pem: bytes) -> None:
    with pytest.raises(KeyUnreadable):
        IdentityKey.from_pem(pem, None)


def test_a_private_key_shows_and_copies_nothing(entropy: Entropy) -> None:
    key = IdentityKey.generate(entropy)
    assert "<private>" in repr(key)
    with pytest.raises(MisuseError):
        pickle.dumps(key)


def test_a_public_key_of_the_wrong_length_does_not_exist() -> None:
    with pytest.raises(PublicKeyInvalid, match="32 bytes"):
        PublicIdentity(b"x" * 31)


def test_the_points_of_small_order_are_the_right_ones() -> None:
    """A point of order 8 doubles to y = 0, that is, x^2 = -y^2 on -x^2 + y^2 = 1 + d x^2 y^2."""
    d = -121665 * pow(121666, -1, identity._FIELD)
    y = identity._Y_OF_ORDER_8
    assert (d * y**4 + 2 * y**2 - 1) % identity._FIELD == 0


@pytest.mark.parametrize("y", [*sorted(identity._SMALL_ORDER_Y), identity._FIELD, identity._FIELD + 1])
@pytest.mark.parametrize("sign", [0, 1])
def test_degenerate_public_keys_do_not_exist(y: int, sign: int) -> None:
    with pytest.raises(PublicKeyInvalid, match="degenerate"):
        PublicIdentity((y | sign << 255).to_bytes(32, "little"))


def test_key_id_is_the_digest_of_the_raw_key() -> None:
    assert PublicIdentity(b"\x07" * 32).key_id == sha256_hex(b"\x07" * 32)


@pytest.mark.parametrize("name", ["a", "cleveland", "va.long-beach_2", "0" * 63])
def test_good_names(name: str) -> None:
    assert parse_party_name(name) == name
    assert parse_federation_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "A", "-a", "a-", "a b", "a/b", "a\n", "ä", "a+b", "x" * 64, "..", "a%20b", "a\x00"]
)
def test_names_that_could_confuse_a_uri_a_path_or_a_log_are_refused(name: str) -> None:
    with pytest.raises(NameInvalid, match="is not a party name"):
        parse_party_name(name)
    with pytest.raises(NameInvalid, match="is not a federation name"):
        parse_federation_name(name)


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 64 + "\n", "٣" * 64])
def test_digests_have_one_spelling(text: str) -> None:
    with pytest.raises(DigestInvalid, match="64 lower-case"):
        parse_digest(text)


def test_sha256_of_abc_is_the_one_of_fips_180_4() -> None:
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_hex(b"abc") == parse_digest(digest)
