"""The table of masking messages in the protocol's page, compared with the bytes of a real round."""

import hashlib
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.encoding import RingShape, RingVector, WordRun
from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.masking import (
    ClientId,
    ClientLimits,
    Party,
    RoundParameters,
    Transcript,
    choose_parameters,
    decode_message,
    run_round,
)

DOCS = Path(__file__).parents[3] / "docs"
HEAD = 5  # magic, version, kind
ROSTER = tuple(ClientId(name) for name in ("cleveland", "hungary", "switzerland"))
BITMAP = 1  # bytes of a bitmap over three members


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """What the page says of each message's fields."""
    monkeypatch.syspath_prepend(DOCS)
    spec = importlib.util.spec_from_file_location("docs_blocks_protocol", DOCS / "blocks" / "protocol.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    fields: Mapping[str, str] = module.FIELDS
    return fields


def size_of(text: str, *, name: str, items: int, inner: int = 0) -> int:
    """Bytes of a message as its description says.

    Args:
        text: The description.
        name: The member named in it.
        items: Entries of each list.
        inner: Size of a nested message without its head.
    """
    total = HEAD
    for part in re.split(r"; ?(?=list of|signature|then)", text):
        plain, _, entry = part.partition("list of:")
        total += sum(map(int, re.findall(r"\((\d+)\)", plain)))
        total += (2 + len(name)) * plain.count("(text)")
        total += (2 + BITMAP) * len(re.findall(r"bitmap \(sized", plain))
        total += 2 * len(re.findall(r"commitment \(sized", plain))  # empty on the complete graph
        total += 2 * len(re.findall(r"contexts \(list", plain))  # none is given up
        total += (2 + items * inner) * len(re.findall(r"(?:advertisements|confirmations) \(list\)", plain))
        if entry:
            total += 2 + items * sum(map(int, re.findall(r"\((\d+)\)", entry)))
    return total


def transcript_of_a_round() -> Transcript:
    entropy = np.random.default_rng(7).bytes
    identities = {name: IdentityKey.generate(entropy) for name in ROSTER}
    shape = RingShape(layout_digest=hashlib.sha256(b"layout").digest(), runs=(WordRun(bits=64, count=4),))
    group = choose_parameters(len(ROSTER), corrupted_fraction=0.2, dropout_fraction=0.1)
    parameters = RoundParameters(
        federation="hearts",
        job_digest=sha256_hex(b"job"),
        stage="training",
        round=0,
        attempt=0,
        roster=ROSTER,
        minimum_cohort=3,
        corrupted=group.corrupted,
        threshold=group.threshold,
        neighbours=None,
        layout_digest=shape.layout_digest,
        words=shape.runs,
        broadcast_digest=sha256_hex(b"broadcast"),
        plan_digest=sha256_hex(b"plan"),
    )
    parties = {name: Party(identity=identities[name], words=RingVector.zeros(shape)) for name in ROSTER}
    transcript = Transcript()
    run_round(parameters, parties, limits=ClientLimits(), entropy=entropy, transcript=transcript)
    return transcript


def test_described_fields_have_the_size_of_real_messages(described: Mapping[str, str]) -> None:
    transcript = transcript_of_a_round()
    seen = set()
    nested = {"Roster": "Advertisement", "Confirmations": "Confirmation"}
    for _, member, data in (*transcript.up, *transcript.down):
        kind = type(decode_message(data)).__name__
        seen.add(kind)
        if kind in nested:
            inner = [size_of(described[nested[kind]], name=name, items=0) - HEAD for name in ROSTER]
            assert len(data) == size_of(described[kind], name=member, items=0) + sum(inner), kind
            continue
        items = len(ROSTER) if kind == "Unmasking" else len(ROSTER) - 1
        expected = size_of(described[kind], name=member, items=items)
        if kind == "Unmasking":
            expected -= len(ROSTER) * 35  # nobody left, so the second list is empty
        assert len(data) == expected, kind
    assert seen == described.keys() - {"RosterDigests", "Opening", "Openings"}  # those are of the sparse graph
