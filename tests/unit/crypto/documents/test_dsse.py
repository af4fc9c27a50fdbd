import base64
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from fedseal_crypto.canonical import JsonInvalid
from fedseal_crypto.digests import Digest
from fedseal_crypto.dsse import Envelope, EnvelopeInvalid, Signature, add_signature, pae, sign, verify
from fedseal_crypto.errors import MisuseError
from fedseal_crypto.identity import IdentityKey, PublicIdentity, SignatureInvalid
from fedseal_crypto.secret import SecretBytes

ALICE = IdentityKey.from_seed(SecretBytes(b"a" * 32))
BOB = IdentityKey.from_seed(SecretBytes(b"b" * 32))
TYPE = "application/vnd.fedseal.job+yaml"

# The example of DSSE 1.0.0, protocol.md, section "Test Vectors".
SPEC_ENVELOPE = (
    b'{"payload": "aGVsbG8gd29ybGQ=",\n "payloadType": "http://example.com/HelloWorld",\n "signatures": '
    b'[{"sig": "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="}]}'
)
SPEC_X = 46950820868899156662930047687818585632848591499744589407958293238635476079160
SPEC_Y = 5640078356564379163099075877009565129882514886557779369047442380624545832820


def _keys(*keys: IdentityKey) -> dict[Digest, PublicIdentity]:
    return {key.public.key_id: key.public for key in keys}


def test_the_encoding_is_the_one_of_the_specification() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_lengths_count_bytes_not_characters() -> None:
    assert pae("ä", b"") == b"DSSEv1 2 \xc3\xa4 0 "


def test_the_signature_of_the_specification_is_over_our_encoding() -> None:
    envelope = Envelope.from_json(SPEC_ENVELOPE)
    raw = envelope.signatures[0].sig
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    key = ec.EllipticCurvePublicNumbers(SPEC_X, SPEC_Y, ec.SECP256R1()).public_key()
    key.verify(der, pae(envelope.payload_type, envelope.payload), ec.ECDSA(hashes.SHA256()))


def test_signing_is_deterministic_and_known() -> None:
    envelope = sign(TYPE, b"job: a\n", ALICE)
    assert json.loads(envelope.to_json()) == {
        "payload": "am9iOiBhCg==",
        "payloadType": TYPE,
        "signatures": [
            {
                "keyid": "a3c761e56d55f45e06a31c3c7e32f79cfba417d3e2e2397767ef5a453f35ffe7",
                "sig": base64.b64encode(ALICE.sign(pae(TYPE, b"job: a\n"))).decode(),
            }
        ],
    }


@given(payload=st.binary(max_size=200), payload_type=st.sampled_from(["x", TYPE, "http://a/b?c=d e"]))
def test_round_trip_and_verification(payload: bytes, payload_type: str) -> None:
    envelope = add_signature(sign(payload_type, payload, ALICE), BOB)
    again = Envelope.from_json(envelope.to_json())
    assert again == envelope
    assert verify(again, _keys(ALICE, BOB)) == set(_keys(ALICE, BOB))
    assert verify(again, _keys(BOB)) == set(_keys(BOB))


def test_both_base64_alphabets_are_accepted() -> None:
    envelope = sign(TYPE, b"\xff\xfe\xfd~~~", ALICE)
    text = envelope.to_json().decode()
    fields = json.loads(text)
    fields["payload"] = fields["payload"].replace("+", "-").replace("/", "_")
    fields["signatures"][0]["sig"] = fields["signatures"][0]["sig"].replace("+", "-").replace("/", "_")
    assert json.dumps(fields) != text
    assert Envelope.from_json(json.dumps(fields).encode()) == envelope


def test_unknown_fields_are_ignored_as_the_specification_demands() -> None:
    fields = json.loads(sign(TYPE, b"x", ALICE).to_json())
    fields["future"] = 1
    fields["signatures"][0]["timestamp"] = "now"
    assert Envelope.from_json(json.dumps(fields).encode()) == sign(TYPE, b"x", ALICE)


def test_a_known_key_with_a_wrong_signature_condemns_the_envelope() -> None:
    envelope = add_signature(sign(TYPE, b"x", ALICE), BOB)
    forged = replace(envelope, signatures=(envelope.signatures[0], replace(envelope.signatures[1], sig=b"\x00" * 64)))
    with pytest.raises(SignatureInvalid):
        verify(forged, _keys(ALICE, BOB))
    assert verify(forged, _keys(ALICE)) == set(_keys(ALICE))


def test_strangers_alone_do_not_suffice() -> None:
    with pytest.raises(SignatureInvalid, match="none of the trusted keys"):
        verify(sign(TYPE, b"x", ALICE), _keys(BOB))
    with pytest.raises(SignatureInvalid):
        verify(sign(TYPE, b"x", ALICE), {})


def test_without_key_id_every_key_is_tried() -> None:
    envelope = sign(TYPE, b"x", BOB)
    anonymous = replace(envelope, signatures=(Signature(keyid="", sig=envelope.signatures[0].sig),))
    assert verify(anonymous, _keys(ALICE, BOB)) == set(_keys(BOB))
    with pytest.raises(SignatureInvalid):
        verify(anonymous, _keys(ALICE))


@pytest.mark.parametrize(
    "change",
    [{"payload": b"y"}, {"payload_type": "application/vnd.fedseal.policy+yaml"}, {"payload": b"x "}],
)
def test_type_and_payload_are_both_signed(change: dict[str, object]) -> None:
    envelope = replace(sign(TYPE, b"x", ALICE), **change)  # type: ignore[arg-type]  # fields from the table
    with pytest.raises(SignatureInvalid):
        verify(envelope, _keys(ALICE))


def test_signing_twice_with_one_key_is_a_mistake() -> None:
    with pytest.raises(MisuseError, match="already signed"):
        add_signature(sign(TYPE, b"x", ALICE), ALICE)


@pytest.mark.parametrize("payload_type", ["", "x" * 257, "a\nb", "a\x00"])
def test_unprintable_types_are_refused(payload_type: str) -> None:
    with pytest.raises(EnvelopeInvalid, match="payload type"):
        sign(payload_type, b"x", ALICE)


GOOD = {"payload": "eA==", "payloadType": TYPE, "signatures": [{"keyid": "", "sig": "eA=="}]}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("payload", None),
        ("payload", 1),
        ("payload", "eA"),
        ("payload", "e A=="),
        ("payload", "€"),
        ("payloadType", ""),
        ("payloadType", ["x"]),
        ("signatures", None),
        ("signatures", []),
        ("signatures", {}),
        ("signatures", ["x"]),
        ("signatures", [{"keyid": ""}]),
        ("signatures", [{"keyid": 1, "sig": "eA=="}]),
        ("signatures", [{"keyid": "k" * 257, "sig": "eA=="}]),
        ("signatures", [{"sig": base64.b64encode(b"x" * 1025).decode()}]),
        ("signatures", [{"sig": "eA=="}] * 65),
    ],
)
def test_malformed_fields_are_refused(name: str, value: object) -> None:
    assert Envelope.from_json(json.dumps(GOOD).encode()).payload == b"x"
    with pytest.raises(EnvelopeInvalid):
        Envelope.from_json(json.dumps(GOOD | {name: value}).encode())


@pytest.mark.parametrize("name", sorted(GOOD))
def test_missing_fields_are_refused(name: str) -> None:
    with pytest.raises(EnvelopeInvalid):
        Envelope.from_json(json.dumps({key: value for key, value in GOOD.items() if key != name}).encode())


def test_the_size_limit_is_checked_first() -> None:
    with pytest.raises(JsonInvalid, match="the limit is 10"):
        Envelope.from_json(json.dumps(GOOD).encode(), max_bytes=10)


@given(data=st.binary(max_size=80))
def test_any_bytes_give_an_envelope_or_a_typed_error(data: bytes) -> None:
    with pytest.raises((EnvelopeInvalid, JsonInvalid)):
        Envelope.from_json(data)
