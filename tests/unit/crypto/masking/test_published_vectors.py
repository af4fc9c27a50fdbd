"""Primitives against the values that their standards publish, through the functions that the protocol uses."""

import hmac

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.masking._keys import KeyPair, PublicKeyInvalid, SealBroken, check_public_key, seal, unseal
from fedseal_crypto.masking._keystream import keystream_encryptor, segment_place
from fedseal_crypto.masking._labels import Usage, derive_key, field, label
from fedseal_crypto.secret import SecretBytes


@pytest.mark.parametrize(
    ("scalar", "point", "result"),
    [  # RFC 7748, section 5.2
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
        (
            "0900000000000000000000000000000000000000000000000000000000000000",
            "0900000000000000000000000000000000000000000000000000000000000000",
            "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079",
        ),
    ],
)
def test_x25519(scalar: str, point: str, result: str) -> None:
    assert KeyPair(SecretBytes(bytes.fromhex(scalar))).agree(bytes.fromhex(point)).hex() == result


@pytest.mark.parametrize(
    ("secret", "salt", "info", "output"),
    [  # RFC 5869, appendices A.1 and A.3
        (
            "0b" * 22,
            "000102030405060708090a0b0c",
            "f0f1f2f3f4f5f6f7f8f9",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            "0b" * 22,
            "",
            "",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ],
)
def test_hkdf(secret: str, salt: str, info: str, output: str) -> None:
    derived = HKDF(hashes.SHA256(), 42, bytes.fromhex(salt), bytes.fromhex(info)).derive(bytes.fromhex(secret))
    assert derived.hex() == output


def test_derive_key_is_hkdf_with_context_as_salt_and_label_as_info() -> None:
    context, secret = bytes(range(32)), bytes(range(32, 64))
    extracted = hmac.digest(context, secret, "sha256")
    expanded = hmac.digest(extracted, label(Usage.PAIR_MASK, b"a", b"bc") + b"\x01", "sha256")
    assert derive_key(secret, Usage.PAIR_MASK, b"a", b"bc", context=context) == expanded


def test_labels_are_injective() -> None:
    assert label(Usage.SHARES, b"a", b"bc") == (
        field(b"fedseal/masking/v1/shares") + b"\x00\x00\x00\x01a" + b"\x00\x00\x00\x02bc"
    )
    parts = [(b"a", b"bc"), (b"ab", b"c"), (b"abc",), (b"abc", b""), (b"", b"abc"), ()]
    labels = {label(usage, *part) for usage in Usage for part in parts}
    assert len(labels) == len(Usage) * len(parts)


def test_ed25519() -> None:
    """RFC 8032, section 7.1, tests 1 and 2."""
    one = IdentityKey.from_seed(
        SecretBytes(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    )
    assert one.public.raw.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    signature = one.sign(b"")
    assert signature.hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155")
    one.public.verify(signature, b"")


def test_keystream_is_the_published_gcm_encryption_of_zeros() -> None:
    """McGrew and Viega, "The Galois/Counter Mode of Operation", test case 2: all zero key, nonce and text."""
    out = bytearray(32)
    keystream_encryptor(bytes(28), 0)(bytes(16), out)
    assert out[:16].hex() == "0388dace60b6a392f328c2b971b2fe78"


def test_keystream_is_counter_mode_from_counter_two() -> None:
    """What lets another implementation use a plain counter mode."""
    key, place = bytes(range(28)), segment_place(3, 5)
    assert place.to_bytes(12, "big").hex() == "00000003" + "0000000000000005"
    out = bytearray(4096 + 16)
    keystream_encryptor(key, place)(bytes(4096), out)
    nonce = bytes.fromhex("10111210" + "14151617" + "18191a1e")
    counter = modes.CTR(nonce + (2).to_bytes(4, "big"))
    assert out[:4096] == Cipher(algorithms.AES128(key[:16]), counter).encryptor().update(bytes(4096))


LOW_ORDER = [  # https://cr.yp.to/ecdh.html, "How do I validate Curve25519 public keys?": the canonical ones
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]
NOT_CANONICAL = [
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0900000000000000000000000000000000000000000000000000000000000080",
    "f6ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@pytest.mark.parametrize("key", [*LOW_ORDER, *NOT_CANONICAL, "", "09", "09" + "00" * 32])
def test_weak_and_ambiguous_public_keys_are_refused(key: str) -> None:
    with pytest.raises(PublicKeyInvalid):
        check_public_key(bytes.fromhex(key))


@pytest.mark.parametrize("key", LOW_ORDER)
def test_agreeing_with_a_low_order_key_is_refused(key: str) -> None:
    with pytest.raises(PublicKeyInvalid, match="low order"):
        KeyPair(SecretBytes(bytes(range(32)))).agree(bytes.fromhex(key))


def test_the_base_point_is_accepted() -> None:
    check_public_key(bytes([9]) + bytes(31))


def test_sealing_binds_key_and_associated_data() -> None:
    key, plain = bytes(range(32)), b"two shares"
    sealed = seal(key, plain, b"context")
    assert unseal(key, sealed, b"context") == plain
    for other in (
        (bytes(32), sealed, b"context"),
        (key, sealed, b"another"),
        (key, sealed[:-1], b"context"),
        (key, sealed[:-1] + bytes([sealed[-1] ^ 1]), b"context"),
        (key, b"", b"context"),
    ):
        with pytest.raises(SealBroken):
            unseal(*other)
