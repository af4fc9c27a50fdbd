"""Byte forms: one for each message, and nothing else is read."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedseal_crypto.custody import Commitment, CommitmentList, Parcel, SumRequest, holds_parcel
from fedseal_crypto.homomorphic import SecretContext
from fedseal_crypto.masking import MessageMalformed
from fedseal_crypto.secret import SecretBytes
from tests.unit.crypto.custody.rounds import NAMES, World, play_hybrid, play_padded


def encoded(world: World) -> dict[str, bytes]:
    collected = play_padded(world)
    assert collected.commitments is not None
    parcel = Parcel(sealed=collected.inputs[NAMES[0]], pad=_secret(collected.pads[NAMES[0]]), masking=b"")
    return {
        "commitment": collected.commitments.commitments[0].encode(),
        "list": collected.commitments.encode(),
        "parcel": parcel.encode(),
        "request": collected.request().encode(),
    }


READERS: dict[str, Callable[[bytes], Any]] = {
    "commitment": Commitment.decode,
    "list": lambda data: CommitmentList.decode(data, members=5),
    "parcel": Parcel.decode,
    "request": lambda data: SumRequest.decode(data, members=5),
}


@pytest.fixture(scope="module")
def forms(custodian_key: SecretContext) -> dict[str, bytes]:
    return encoded(World(secret=custodian_key, masked=False))


@pytest.mark.parametrize("kind", READERS)
def test_reading_gives_back_what_was_written(forms: dict[str, bytes], kind: str) -> None:
    message = READERS[kind](forms[kind])
    assert message.encode() == forms[kind]
    assert holds_parcel(forms[kind]) is (kind == "parcel")


@pytest.mark.parametrize("kind", READERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_other_bytes_are_refused_with_one_error(forms: dict[str, bytes], kind: str, data: st.DataObject) -> None:
    good = forms[kind]
    change = data.draw(st.sampled_from(["cut", "longer", "flipped", "other"]))
    match change:
        case "cut":
            bad = good[: data.draw(st.integers(0, len(good) - 1))]
        case "longer":
            bad = good + data.draw(st.binary(min_size=1, max_size=8))
        case "flipped":
            at = data.draw(st.integers(0, len(good) - 1))
            bad = good[:at] + bytes((good[at] ^ data.draw(st.integers(1, 255)),)) + good[at + 1 :]
        case _:
            bad = forms[data.draw(st.sampled_from([name for name in READERS if name != kind]))]
    try:
        message = READERS[kind](bad)
    except MessageMalformed:
        return
    assert change == "flipped", "only a value may have changed"
    assert message.encode() == bad


def test_lists_are_limited_and_sorted(forms: dict[str, bytes]) -> None:
    with pytest.raises(MessageMalformed, match="number of commitments is 5, more than 4"):
        CommitmentList.decode(forms["list"], members=4)
    shown = CommitmentList.decode(forms["list"], members=5)
    twice = CommitmentList(context0=shown.context0, commitments=(shown.commitments[0],) * 2)
    with pytest.raises(MessageMalformed, match="not sorted, or one appears twice"):
        CommitmentList.decode(twice.encode(), members=5)


def test_a_request_without_commitments_is_read_back(hybrid: World) -> None:
    request = play_hybrid(hybrid).request()
    assert SumRequest.decode(request.encode(), members=5) == request
    assert request.digest() != play_padded(hybrid).request().digest()


def _secret(data: bytes) -> SecretBytes:
    return SecretBytes(data)
