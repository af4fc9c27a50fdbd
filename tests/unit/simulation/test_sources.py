"""Fashion-MNIST's files are read exactly, and damaged ones refused."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from fedseal.errors import SetupError
from fedseal.simulation.experiment import Data
from fedseal.simulation.sources import load_source


def write(folder: Path, part: str, count: int) -> None:
    generator = np.random.default_rng(count)
    images = generator.integers(0, 256, size=(count, 28, 28), dtype=np.uint8)
    labels = (np.arange(count) % 10).astype(np.uint8)
    head = struct.pack(">IIII", 0x803, count, 28, 28)
    (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + images.tobytes()))
    head = struct.pack(">II", 0x801, count)
    (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(head + labels.tobytes()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "train", 30)
    write(tmp_path, "t10k", 20)
    return tmp_path


def data(**more: object) -> Data:
    return Data.model_validate({"source": "fashion-mnist", "folder": ".", **more})


def test_rows_are_those_of_the_files(folder: Path) -> None:
    source = load_source(data(training_rows=12), folder)
    training, test = source.training["all"], source.test["all"]
    assert (training.row_count, test.row_count) == (12, 20)
    raw = gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes())[16:]
    assert training.images["image"].tobytes() == raw[: 12 * 784]
    assert list(training.labels(source.schema.columns[-1])) == [float(i % 10) for i in range(12)]


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("train-images-idx3-ubyte.gz", b"no gzip", "no gzip"),
        ("train-labels-idx1-ubyte.gz", gzip.compress(b"\0\0", mtime=0), "not an IDX"),
        ("train-labels-idx1-ubyte.gz", gzip.compress(struct.pack(">II", 0x801, 9) + b"ab", mtime=0), "damaged"),
        ("t10k-labels-idx1-ubyte.gz", None, "does not exist"),
    ],
    ids=["no-gzip", "no-header", "too-short", "absent"],
)
def test_damaged_files_are_refused(folder: Path, name: str, content: bytes | None, word: str) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(SetupError, match=word):
        load_source(data(), folder)


def test_more_rows_than_there_are_is_refused(folder: Path) -> None:
    with pytest.raises(SetupError, match="has 30 rows"):
        load_source(data(training_rows=31), folder)
