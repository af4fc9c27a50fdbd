"""Streams of bounded pieces: what arrives whole is exactly what was sent, and nothing else leaves a file behind."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedseal.errors import PeerFault
from fedseal.wire import chunks
from fedseal.wire.limits import CHUNK_BYTES

QUICK = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PIECES = st.lists(st.binary(min_size=1, max_size=50), max_size=8)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "received"


@given(pieces=PIECES)
@QUICK
def test_a_whole_stream_arrives(target: Path, pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    digest = chunks.receive(pieces, target, size=len(data))
    assert target.read_bytes() == data
    assert digest == hashlib.sha256(data).hexdigest()


@given(pieces=PIECES, announced=st.integers(min_value=0, max_value=500))
@QUICK
def test_a_stream_of_another_size_leaves_nothing(target: Path, pieces: list[bytes], announced: int) -> None:
    size = len(b"".join(pieces))
    if announced == size:
        announced += 1
    with pytest.raises(PeerFault, match=f"of {announced} announced bytes; it was discarded"):
        chunks.receive(pieces, target, size=announced)
    assert not target.exists()


@given(pieces=PIECES, place=st.integers(min_value=0, max_value=8))
@QUICK
def test_an_empty_piece_is_refused(target: Path, pieces: list[bytes], place: int) -> None:
    """A sender could keep a stream open with them for ever."""
    pieces.insert(place, b"")
    with pytest.raises(PeerFault, match="broke its bounds"):
        chunks.receive(pieces, target, size=len(b"".join(pieces)) + 1)
    assert not target.exists()


@given(data=st.binary(max_size=300), cut=st.integers(min_value=1, max_value=100))
@QUICK
def test_what_is_split_is_received(target: Path, data: bytes, cut: int) -> None:
    assert b"".join(chunks.split(data)) == data
    assert b"".join(chunks.split(memoryview(data))) == data
    pieces = [data[start : start + cut] for start in range(0, len(data), cut)]
    chunks.receive(pieces, target, size=len(data))
    assert b"".join(chunks.read_file(target)) == data


def test_pieces_have_a_limit(target: Path) -> None:
    data = bytes(CHUNK_BYTES + 1)
    assert [len(piece) for piece in chunks.split(data)] == [CHUNK_BYTES, 1]
    assert chunks.receive(chunks.split(data), target, size=len(data))
    assert [len(piece) for piece in chunks.read_file(target)] == [CHUNK_BYTES, 1]
    with pytest.raises(PeerFault, match="broke its bounds"):
        chunks.receive([data], target, size=len(data))
    assert not target.exists()


def test_nothing_is_split_into_nothing() -> None:
    assert list(chunks.split(b"")) == []


def test_a_stream_that_breaks_leaves_nothing(target: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"beginning"
        raise ConnectionError("the other side is gone")

    with pytest.raises(ConnectionError):
        chunks.receive(broken(), target, size=100)
    assert not target.exists()


def test_a_stream_is_not_read_beyond_its_size(target: Path) -> None:
    """A sender that never ends is stopped at the first byte too many."""
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"x" * 10

    with pytest.raises(PeerFault):
        chunks.receive(endless(), target, size=95)
    assert taken == 10


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        chunks.receive([b"x"], tmp_path / "nowhere" / "file", size=1)
