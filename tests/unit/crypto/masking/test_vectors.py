"""The known-answer vectors: regenerated without a change, and checked by code that shares only primitives with ours.

The reference below is slow and plain on purpose: HKDF from HMAC, masks from counter mode, sums of Python integers,
interpolation by the textbook formula.
"""

import hashlib
import hmac
import importlib.util
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from fedseal_crypto import masking
from fedseal_crypto.masking import ProtocolViolation, Step, decode_message

VECTORS = Path(__file__).parents[3] / "vectors"
FOLDER = VECTORS / "masking"
PRIME = 2**256 + 297
ROUNDS = sorted(path.stem for path in FOLDER.glob("round_*.json"))
FAULTS = sorted(path.stem for path in (FOLDER / "bad").glob("*.json"))


def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_bytes())["vectors"]


@pytest.fixture(scope="session")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_masking_vectors", VECTORS / "make_masking_vectors.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_gives_the_same_bytes(script: ModuleType) -> None:
    files: dict[str, bytes] = script.build()
    stored = {str(path.relative_to(FOLDER)): path.read_bytes() for path in FOLDER.rglob("*.json")}
    assert files.keys() == stored.keys()
    assert [name for name in files if files[name] != stored[name]] == []


# --- the plain reference ------------------------------------------------------------------------------


def field(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def label(usage: str, *parts: bytes) -> bytes:
    return field(b"fedseal/masking/v1/" + usage.encode()) + b"".join(map(field, parts))


def hkdf(secret: bytes, salt: bytes, info: bytes, size: int = 32) -> bytes:
    return hmac.digest(hmac.digest(salt, secret, "sha256"), info + b"\1", "sha256")[:size]


def mask_words(key: bytes, runs: list[list[int]]) -> list[list[int]]:
    out = []
    for index, (bits, count) in enumerate(runs):
        size = 4 if bits == 24 else bits // 8
        stream = b""
        for segment in range(-(-count * size // (2 << 20))):
            place = index.to_bytes(4, "big") + segment.to_bytes(8, "big")
            start = bytes(a ^ b for a, b in zip(key[16:], place, strict=True)) + (2).to_bytes(4, "big")
            stream += Cipher(algorithms.AES128(key[:16]), modes.CTR(start)).encryptor().update(bytes(2 << 20))
        words = (stream[at * size : (at + 1) * size] for at in range(count))
        out.append([int.from_bytes(word, "little") % (1 << bits) for word in words])
    return out


def words_from(raw: bytes, runs: list[list[int]]) -> list[list[int]]:
    out = []
    for bits, count in runs:
        part, raw = raw[: count * bits // 8], raw[count * bits // 8 :]
        if bits == 24:
            low, high = part[: 2 * count], part[2 * count :]
            out.append([int.from_bytes(low[2 * i : 2 * i + 2], "little") | high[i] << 16 for i in range(count)])
        else:
            size = bits // 8
            out.append([int.from_bytes(part[i * size : (i + 1) * size], "little") for i in range(count)])
    assert raw == b""
    return out


def add(one: list[list[int]], other: list[list[int]], runs: list[list[int]], sign: int = 1) -> list[list[int]]:
    return [
        [(x + sign * y) % (1 << bits) for x, y in zip(left, right, strict=True)]
        for (bits, _), left, right in zip(runs, one, other, strict=True)
    ]


RUNS = [[64, 1], [32, 3], [16, 2], [24, 2]]


# --- parts --------------------------------------------------------------------------------------------


def test_keys() -> None:
    vectors = load("keys")
    context, secret = bytes.fromhex(vectors["context"]), bytes.fromhex(vectors["secret"])
    one, other = vectors["one"].encode(), vectors["other"].encode()
    for usage, expected in vectors["labels"].items():
        assert label(usage, b"part", b"").hex() == expected
        assert hkdf(secret, context, label(usage, b"part")).hex() == vectors["derived"][usage]
    assert hkdf(secret, context, label("pair-mask", one, other), 28).hex() == vectors["pair_mask_key"]
    assert hkdf(secret, context, label("self-mask", one), 28).hex() == vectors["self_mask_key"]
    assert hkdf(secret, context, label("share-channel", one, other)).hex() == vectors["channel_key_one_to_other"]
    assert label("share-channel", context, one, other).hex() == vectors["channel_associated_data"]
    commitment = hashlib.sha256(label("commit", context, one, secret)).hexdigest()
    assert commitment == vectors["self_mask_commitment"]


@pytest.mark.parametrize("vector", load("keystream"), ids=lambda vector: vector["name"])
def test_keystream(vector: dict[str, Any]) -> None:
    raw = b""
    for (bits, _), words in zip(vector["runs"], mask_words(bytes.fromhex(vector["key"]), vector["runs"]), strict=True):
        if bits == 24:
            raw += b"".join((word & 0xFFFF).to_bytes(2, "little") for word in words)
            raw += bytes(word >> 16 for word in words)
        else:
            raw += b"".join(word.to_bytes(bits // 8, "little") for word in words)
    assert raw[:64].hex() == vector["first_bytes"]
    assert raw[-20:].hex() == vector["last_bytes"]
    assert hashlib.sha256(raw).hexdigest() == vector["sha256"]


@pytest.mark.parametrize("vector", load("shamir"), ids=lambda vector: f"threshold {vector['threshold']}")
def test_shamir(vector: dict[str, Any]) -> None:
    shares = {int(x): int(share, 16) for x, share in vector["shares"].items()}
    stream = hashlib.shake_256(vector["entropy_seed"].encode()).digest(48 * vector["threshold"])
    noise = [int.from_bytes(stream[at : at + 48], "big") for at in range(0, 48 * (vector["threshold"] - 1), 48)]
    # The first number drawn is the coefficient of the highest power.
    coefficients = [int(vector["secret"], 16), *reversed(noise)]
    for x, share in shares.items():
        assert sum(c * x**power for power, c in enumerate(coefficients)) % PRIME == share
    chosen = list(shares)[-vector["threshold"] :]
    secret = 0
    for x in chosen:
        weight = Fraction(1)
        for other in chosen:
            if other != x:
                weight *= Fraction(-other, x - other)
        secret += shares[x] * weight.numerator * pow(weight.denominator, -1, PRIME)
    assert secret % PRIME == int(vector["secret"], 16)


@pytest.mark.parametrize("vector", load("encoding"), ids=lambda vector: vector["name"])
def test_encoding(vector: dict[str, Any]) -> None:
    runs: dict[int, list[int]] = {64: [1], 32: [], 16: [], 24: []}
    for item in vector["vectors"]:
        levels = -int(-item["bound"] // item["resolution"])
        lane_bits = (2 * levels * vector["cohort"]).bit_length()
        assert lane_bits == item["lane_bits"]
        assert item["lanes"] * lane_bits <= item["word_bits"]
        clipped = [min(max(value, -item["bound"]), item["bound"]) for value in item["values"]]
        assert sum(a != b for a, b in zip(clipped, item["values"], strict=True)) == item["clipped"]
        words = [0] * -(-len(clipped) // item["lanes"])
        for place, value in enumerate(clipped):
            lane, word = divmod(place, len(words))
            words[word] |= (int(value / item["resolution"]) + levels) << (lane * lane_bits)
        runs[item["word_bits"]] += words
    used = [[bits, len(words)] for bits, words in runs.items() if words]
    assert words_from(bytes.fromhex(vector["words"]), used) == [words for words in runs.values() if words]


# --- rounds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROUNDS)
def test_the_sum_is_the_plain_sum(name: str) -> None:
    vector = load(name)
    total = [[0] * count for _, count in RUNS]
    for member in vector["survivors"]:
        total = add(total, words_from(bytes.fromhex(vector["members"][member]["words"]), RUNS), RUNS)
    assert words_from(bytes.fromhex(vector["sum"]), RUNS) == total
    assert set(vector["survivors"]) | set(vector["dropped"]) == vector["members"].keys()


@pytest.mark.parametrize("name", ROUNDS)
def test_masked_vectors_follow_from_secrets_and_advertisements(name: str) -> None:
    """The whole derivation of every masked vector, from the seed and the bytes on the wire."""
    vector = load(name)
    roster = list(vector["members"])
    stream = hashlib.shake_256(vector["entropy_seed"].encode()).digest(96 * len(roster))
    # Members draw in order: mask key, channel key, seed.
    secrets = {member: stream[96 * i : 96 * i + 96] for i, member in enumerate(roster)}
    context0 = hashlib.sha256(label("context0", bytes.fromhex(vector["parameters"]))).digest()
    assert context0.hex() == vector["context0"]

    advertised = {member: bytes.fromhex(data) for step, member, data in vector["from_members"] if step == "advertise"}
    flat = b"".join(
        roster.index(member).to_bytes(2, "big") + hashlib.sha256(label("advertisement-digest", data)).digest()
        for member, data in sorted(advertised.items())
    )
    context = hashlib.sha256(label("context", context0, flat)).digest()
    sharers = {member for step, member, _ in vector["from_members"] if step == "share"}
    for member, data in vector["members"].items():
        if data["masked_words"] is None:
            continue
        seed = secrets[member][64:]
        words = words_from(bytes.fromhex(data["words"]), RUNS)
        words = add(words, mask_words(hkdf(seed, context, label("self-mask", member.encode()), 28), RUNS), RUNS)
        for peer in sorted(sharers - {member}):
            mine = X25519PrivateKey.from_private_bytes(secrets[member][:32])
            # magic, version, kind, name, first context and identity come before the mask key
            at = 5 + 2 + len(peer) + 32 + 32
            agreed = mine.exchange(X25519PublicKey.from_public_bytes(advertised[peer][at : at + 32]))
            low, high = sorted((member, peer))
            key = hkdf(agreed, context, label("pair-mask", low.encode(), high.encode()), 28)
            words = add(words, mask_words(key, RUNS), RUNS, 1 if member < peer else -1)
        masked = bytes.fromhex(data["masked_words"])
        assert words_from(masked, RUNS) == words
        header = next(
            bytes.fromhex(sent) for step, who, sent in vector["from_members"] if (step, who) == ("mask", member)
        )
        assert blake3(masked).digest() in header
        assert context in header


@pytest.mark.parametrize("name", ROUNDS)
def test_every_message_of_a_round_has_one_form(name: str) -> None:
    vector = load(name)
    for *_, data in (*vector["from_members"], *vector["to_members"]):
        assert decode_message(bytes.fromhex(data)).encode().hex() == data


# --- faults -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_refused_and_change_nothing(fault: str, script: ModuleType) -> None:
    vector = load(f"bad/{fault}")
    arrive: Callable[..., Any] = script.arrive
    server, clients = arrive(vector["round"], Step(vector["step"]))
    client = clients[vector["receiver"]]
    message = decode_message(bytes.fromhex(vector["message"]))
    before = (client.state, client._memory)
    words = script.parties_for(client.parameters, {})[vector["receiver"]].words
    error: type[ProtocolViolation] = getattr(masking, vector["error"])
    with pytest.raises(error):
        client.answer(message, words)
    assert (client.state, client._memory) == before
    client.answer(server.instruction_for(client.name), words)
