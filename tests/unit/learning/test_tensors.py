"""Named tensors: what is packed comes back; what was not agreed is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedseal.learning.errors import TensorsRefused
from fedseal.learning.tensors import (
    HEADER_BYTES,
    flatten,
    group_of,
    grouped,
    pack_tensors,
    shapes_of,
    unflatten,
    unpack_tensors,
)

TENSORS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array([1.5])}
SHAPES = shapes_of(TENSORS)


def test_packing_and_flattening_are_inverted() -> None:
    back = unpack_tensors(pack_tensors(TENSORS), SHAPES, what="it")
    assert back.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(back[name], tensor)
        assert back[name].dtype == tensor.dtype
        np.testing.assert_array_equal(unflatten(flatten(TENSORS), SHAPES)[name], tensor)
    assert flatten(TENSORS).tolist() == [1.5, 0, 1, 2, 3, 4, 5]
    assert group_of("x", grouped("x", TENSORS)).keys() == TENSORS.keys()


def test_equal_tensors_give_equal_bytes() -> None:
    assert pack_tensors(TENSORS) == pack_tensors(dict(reversed(TENSORS.items())))


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"a": TENSORS["a"]}, r"missing: \['b'\]"),
        ({**TENSORS, "c": TENSORS["a"]}, r"not expected: \['c'\]"),
        ({**TENSORS, "a": np.zeros(2)}, r"shape \(2,\), expected \(1,\)"),
        ({**TENSORS, "a": np.array([1])}, "of type int64"),
        ({**TENSORS, "a": np.array([np.nan])}, "NaN or infinite"),
        ({**TENSORS, "a": np.array([np.inf])}, "NaN or infinite"),
    ],
)
def test_other_tensors_are_refused(tensors: dict[str, np.ndarray[tuple[int, ...]]], says: str) -> None:
    with pytest.raises(TensorsRefused, match=says):
        unpack_tensors(pack_tensors(tensors), SHAPES, what="it")


def test_a_file_larger_than_its_tensors_is_refused_unparsed() -> None:
    with pytest.raises(TensorsRefused, match="bytes"):
        unpack_tensors(b"\0" * (HEADER_BYTES + 8 * 7 + 1), SHAPES, what="it")


@given(data=st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(TensorsRefused):
        unpack_tensors(data, SHAPES, what="it")


@given(cut=st.integers(0, len(pack_tensors(TENSORS)) - 1))
def test_truncated_files_are_refused(cut: int) -> None:
    with pytest.raises(TensorsRefused):
        unpack_tensors(pack_tensors(TENSORS)[:cut], SHAPES, what="it")


def test_a_vector_of_another_length_is_not_unflattened() -> None:
    with pytest.raises(TensorsRefused, match="cannot fill 7"):
        unflatten(np.zeros(8), SHAPES)
