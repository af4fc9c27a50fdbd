"""Masks cancel, do not depend on how the work is cut, and never repeat."""

import numpy as np
import pytest

from fedseal_crypto.encoding import RingShape, RingVector, WordRun
from fedseal_crypto.masking import _keystream
from fedseal_crypto.masking._keystream import Mask, apply_masks, keystream_encryptor, segment_place
from fedseal_crypto.secret import SecretBytes

WIDTHS = ((64, 70_001), (32, 600_001), (16, 70_001), (24, 600_001))


def shape_of(*widths: tuple[int, int]) -> RingShape:
    return RingShape(layout_digest=bytes(32), runs=tuple(WordRun(bits=bits, count=count) for bits, count in widths))


def key(number: int) -> SecretBytes:
    return SecretBytes(np.random.default_rng(number).bytes(28))


def reference(shape: RingShape, secret: SecretBytes) -> list[np.ndarray[tuple[int], np.dtype[np.uint64]]]:
    """The mask straight from the description: per run and segment of 2 MiB one keystream."""
    out = []
    for index, run in enumerate(shape.runs):
        size = run.count * run.compute_dtype.itemsize
        stream = bytearray()
        for segment in range(-(-size // (2 << 20))):
            part = bytearray((2 << 20) + 16)
            keystream_encryptor(secret.reveal(), segment_place(index, segment))(bytes(2 << 20), part)
            stream += part[: 2 << 20]
        words = np.frombuffer(bytes(stream[:size]), run.compute_dtype).astype(np.uint64)
        out.append(words & np.uint64((1 << run.bits) - 1))
    return out


@pytest.mark.parametrize("workers", [1, 2])
def test_a_mask_is_what_the_description_says(workers: int) -> None:
    shape = shape_of(*WIDTHS)
    vector = RingVector.zeros(shape)
    apply_masks(vector, [Mask(key(1), add=True)], workers=workers)
    for run, expected in zip(vector.segments, reference(shape, key(1)), strict=True):
        assert np.array_equal(run.astype(np.uint64), expected)


def test_masks_cancel_in_any_order() -> None:
    shape = shape_of((64, 9), (32, 40_000), (24, 40_000))
    start = RingVector.from_bytes(shape, bytearray(np.random.default_rng(0).bytes(shape.wire_bytes)))
    vector = start.copy()
    apply_masks(vector, [Mask(key(i), add=i % 2 == 0) for i in range(7)])
    assert vector != start
    apply_masks(vector, [Mask(key(i), add=i % 2 == 1) for i in reversed(range(7))])
    assert vector == start


def test_batches_of_keys_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = shape_of((32, 50_000))
    masks = [Mask(key(i), add=i % 3 == 0) for i in range(10)]
    one, other = RingVector.zeros(shape), RingVector.zeros(shape)
    apply_masks(one, masks)
    monkeypatch.setattr(_keystream, "_BATCH", 3)
    apply_masks(other, masks)
    assert one == other


def test_a_prefix_of_a_longer_vector_has_the_same_mask() -> None:
    """The counter is seekable: a word's mask depends on its place only."""
    short, long = shape_of((32, 1000)), shape_of((32, 700_000))
    one, other = RingVector.zeros(short), RingVector.zeros(long)
    for vector in (one, other):
        apply_masks(vector, [Mask(key(5), add=True)])
    assert np.array_equal(one.segments[0], other.segments[0][:1000])


def test_no_block_of_keystream_repeats() -> None:
    """Over runs, segments and two keys: all 16-byte blocks are distinct."""
    shape = shape_of((64, 300_000), (32, 600_000))
    blocks: list[bytes] = []
    for number in (1, 2):
        vector = RingVector.zeros(shape)
        apply_masks(vector, [Mask(key(number), add=True)])
        raw = vector.to_bytes()
        blocks += [raw[at : at + 16] for at in range(0, len(raw) - 15, 16)]
    assert len(set(blocks)) == len(blocks)


def test_places_are_unique_to_run_and_segment() -> None:
    places = {segment_place(run, segment) for run in range(4) for segment in range(1000)}
    assert len(places) == 4000
    assert max(places) < 1 << 96


def test_the_salt_alone_changes_the_whole_mask() -> None:
    streams = []
    for salt in (bytes(12), bytes(11) + b"\1"):
        out = bytearray(80)
        keystream_encryptor(bytes(16) + salt, 7)(bytes(64), out)
        streams.append({bytes(out[at : at + 16]) for at in range(0, 64, 16)})
    assert not streams[0] & streams[1]
