"""Byte forms: round trips, one form only, limits, and typed errors for anything else."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedseal_crypto.masking import (
    ClientId,
    ClientLimits,
    DecodeLimits,
    MessageMalformed,
    ParametersInvalid,
    Party,
    RoundParameters,
    Step,
    Transcript,
    decode_message,
    run_round,
)

ParametersFor = Callable[..., RoundParameters]
PartiesFor = Callable[..., dict[ClientId, Party]]
Seeded = Callable[[object], Callable[[int], bytes]]


@pytest.fixture(scope="session")
def wire(parameters_for: ParametersFor, parties_for: PartiesFor, seeded: Seeded) -> tuple[bytes, ...]:
    """Every distinct message of one round of four, one of each kind first."""
    parameters = parameters_for(4)
    transcript = Transcript()
    parties = parties_for(parameters, {3: Step.MASK})
    run_round(parameters, parties, limits=ClientLimits(), entropy=seeded(0), transcript=transcript)
    messages = dict.fromkeys(data for _, _, data in (*transcript.up, *transcript.down))
    by_kind: dict[int, bytes] = {}
    for data in messages:
        by_kind.setdefault(data[4], data)
    return (*by_kind.values(), *messages)


@pytest.fixture
def sparse_wire(
    small_sparse: tuple[RoundParameters, ClientLimits], parties_for: PartiesFor, seeded: Seeded
) -> list[bytes]:
    parameters, limits = small_sparse
    transcript = Transcript()
    run_round(parameters, parties_for(parameters), limits=limits, entropy=seeded(0), transcript=transcript)
    return [data for _, _, data in (*transcript.up, *transcript.down)]


def test_every_message_comes_back_as_itself(wire: tuple[bytes, ...], sparse_wire: list[bytes]) -> None:
    kinds = set()
    for data in (*wire, *sparse_wire):
        message = decode_message(data)
        assert message.encode() == data
        kinds.add(type(message).__name__)
    assert kinds == {
        "Advertisement",
        "Confirmation",
        "Confirmations",
        "MaskedInputHeader",
        "Opening",
        "Openings",
        "Roster",
        "RosterDigests",
        "ShareBundle",
        "ShareDelivery",
        "Survivors",
        "Unmasking",
    }


def test_truncated_extended_or_mislabelled_messages(wire: tuple[bytes, ...]) -> None:
    for data in dict.fromkeys(wire):
        for end in {*range(min(200, len(data))), len(data) - 1}:
            with pytest.raises(MessageMalformed):
                decode_message(data[:end])
        with pytest.raises(MessageMalformed, match="follow its last field"):
            decode_message(data + b"\0")
        with pytest.raises(MessageMalformed, match="mark"):
            decode_message(b"X" + data[1:])
        with pytest.raises(MessageMalformed, match="version"):
            decode_message(data[:3] + b"\2" + data[4:])
        for kind in (0, 13, 255):
            with pytest.raises(MessageMalformed, match="kind is unknown"):
                decode_message(data[:4] + bytes([kind]) + data[5:])


@settings(max_examples=600, deadline=None)
@given(data=st.data())
def test_mutated_messages_are_refused_or_have_that_one_form(wire: tuple[bytes, ...], data: st.DataObject) -> None:
    message = bytearray(data.draw(st.sampled_from(wire[:9])))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(message) - 1))
        action = data.draw(st.sampled_from(("set", "cut", "insert", "repeat")))
        if action == "set":
            message[place] = data.draw(st.integers(0, 255))
        elif action == "cut":
            del message[place : place + data.draw(st.integers(1, 40))]
        elif action == "insert":
            message[place:place] = data.draw(st.binary(max_size=40))
        else:
            message[place:place] = message[place : place + 100]
        if not message:
            break
    check_form(bytes(message))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 14), st.binary(max_size=300))
def test_random_bytes_are_refused_or_have_that_one_form(kind: int, body: bytes) -> None:
    check_form(body)
    check_form(b"FSM\1" + bytes([kind]) + body)


def check_form(data: bytes) -> None:
    try:
        decoded = decode_message(data)
    except MessageMalformed:
        return
    assert decoded.encode() == data


def test_limits_are_kept(wire: tuple[bytes, ...]) -> None:
    roster = next(data for data in wire if data[4] == 2)
    decode_message(roster, DecodeLimits(members=4))
    with pytest.raises(MessageMalformed, match="number of advertisements is 4, more than 3"):
        decode_message(roster, DecodeLimits(members=3))
    with pytest.raises(MessageMalformed, match="is larger than 100"):
        decode_message(roster, DecodeLimits(message_bytes=100))


def test_a_length_beyond_the_data_reserves_nothing() -> None:
    """65535 promised advertisements in a message of 50 bytes end at once."""
    with pytest.raises(MessageMalformed, match="it ends within"):
        decode_message(b"FSM\1\2" + bytes(32) + b"\xff\xff" + b"\0\1a" + bytes(8))


@cache
def random_tail(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


@pytest.mark.parametrize("n", [3, 10, 128, 140])
def test_parameters_come_back_as_themselves(n: int, parameters_for: ParametersFor) -> None:
    parameters = parameters_for(n)
    data = parameters.encode()
    assert RoundParameters.decode(data) == parameters
    assert RoundParameters.decode(data).context0() == parameters.context0()
    for wrong in (data[:-1], data + b"\0", b"\0" + data[1:], b"", data[:50] + random_tail(100)):
        with pytest.raises(MessageMalformed):
            RoundParameters.decode(wrong)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_mutated_parameters_are_refused_or_have_that_one_form(
    data: st.DataObject, parameters_for: ParametersFor
) -> None:
    message = bytearray(parameters_for(4).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = RoundParameters.decode(bytes(message))
    except MessageMalformed:
        return
    assert decoded.encode() == bytes(message)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"federation": "Has Spaces"}, "is not a federation name"),
        ({"job_digest": "00"}, "not a SHA-256 digest"),
        ({"stage": ""}, "a stage has 1 to 64"),
        ({"stage": "ä"}, "a stage has 1 to 64"),
        ({"round": -1}, "from 0 to"),
        ({"attempt": 2**32}, "from 0 to"),
        ({"roster": ("a", "b")}, "at least 3 are needed"),
        ({"roster": ("b", "a", "c")}, "sorted and name each member once"),
        ({"roster": ("a", "a", "b")}, "sorted and name each member once"),
        ({"roster": ("a", "b", "C")}, "is not a party name"),
        ({"threshold": 0}, "threshold is 0"),
        ({"threshold": 6}, "threshold is 6"),
        ({"minimum_cohort": 6}, "minimum_cohort is 6"),
        ({"corrupted": 4}, "a sum must have 6 contributions, but the roster has 5"),
        ({"neighbours": 3}, "even number of neighbours"),
        ({"neighbours": 4}, "even number of neighbours"),
        ({"layout_digest": b""}, "layout digest has 32 bytes"),
        ({"words": ()}, "runs of a ring vector"),
    ],
)
def test_impossible_parameters(changed: dict[str, object], said: str, parameters_for: ParametersFor) -> None:
    with pytest.raises(ParametersInvalid, match=said):
        parameters_for(5, **changed)


def test_every_parameter_changes_the_context(parameters_for: ParametersFor) -> None:
    digest = "ab" * 32
    changes: list[dict[str, object]] = [
        {},
        {"federation": "lungs"},
        {"job_digest": digest},
        {"stage": "evaluation"},
        {"round": 4},
        {"attempt": 1},
        {"roster": tuple(f"node-{i:03}" for i in range(1, 6))},
        {"minimum_cohort": 4},
        {"corrupted": 2},
        {"threshold": 5},
        {"neighbours": 2},
        {"layout_digest": bytes(32)},
        {"words": parameters_for(5).words[:1]},
        {"broadcast_digest": digest},
        {"plan_digest": digest},
    ]
    contexts = {parameters_for(5, **changed).context0() for changed in changes}
    assert len(contexts) == len(changes)
