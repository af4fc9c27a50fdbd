"""Where an experiment's rows come from: Fashion-MNIST, or files as a node would register them.

Fashion-MNIST: Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747; four files in IDX form, as the Debian package
dataset-fashion-mnist installs them.
"""

import gzip
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedseal.files import read_limited
from fedseal.learning.data import LocalData, load_dataset
from fedseal.learning.split import held_out_rows
from fedseal.simulation.errors import ExperimentUnsuitable
from fedseal.simulation.experiment import Data
from fedseal_governance.datasets import DatasetSchema, load_schema

FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FASHION_CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
FASHION_SCHEMA = (
    "dataset: fashion-mnist\n"
    "columns:\n"
    "  - {name: id, role: record_id}\n"
    "  - {name: image, type: image, shape: [28, 28], range: [0, 255]}\n"
    f"  - {{name: garment, type: category, role: target, categories: [{', '.join(FASHION_CLASSES)}]}}\n"
)
_MAGIC = {1: 0x801, 3: 0x803}  # IDX: unsigned bytes in so many dimensions
_MOST_BYTES = 1 << 28


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """All rows of an experiment.

    Attributes:
        schema: Of every site.
        features: The columns that nodes learn from.
        training: Rows to train on, by site; one site where rows are dealt to virtual nodes.
        test: Rows to test on, by site.
    """

    schema: DatasetSchema
    features: tuple[str, ...]
    training: Mapping[str, LocalData]
    test: Mapping[str, LocalData]


def load_source(data: Data, base: Path) -> Source:
    """Read an experiment's rows.

    Args:
        data: Which.
        base: Folder of the experiment file; paths are relative to it.

    Raises:
        ExperimentUnsuitable: The files are not there, or not of the kind expected.
        DatasetError, DocumentError: A file does not fit its schema.
    """
    return _fashion(data, base) if data.source == "fashion-mnist" else _files(data, base)


def join(parts: Mapping[str, LocalData]) -> LocalData:
    """The rows of several sites as one; record ids get the site's name in front."""
    ordered = sorted(parts)
    first = parts[ordered[0]]
    return LocalData(
        schema=first.schema,
        frame=pd.concat([parts[name].frame for name in ordered], ignore_index=True),
        record_ids=tuple(f"{name}/{record}" for name in ordered for record in parts[name].record_ids),
        images={key: np.concatenate([parts[name].images[key] for name in ordered]) for key in first.images},
    )


def take(data: LocalData, rows: NDArray[np.intp]) -> LocalData:
    """The rows with these numbers, in the data's order."""
    chosen = np.zeros(data.row_count, dtype=bool)
    chosen[rows] = True
    return data.rows(chosen)


def _fashion(data: Data, base: Path) -> Source:
    folder = base / data.folder if data.folder else FASHION_FOLDER
    schema = load_schema(FASHION_SCHEMA.encode(), "fashion-mnist")
    return Source(
        schema=schema,
        features=("image",),
        training={"all": _fashion_part(folder, "train", schema, data.training_rows)},
        test={"all": _fashion_part(folder, "t10k", schema, data.test_rows)},
    )


def _fashion_part(folder: Path, part: str, schema: DatasetSchema, rows: int) -> LocalData:
    images = _idx(folder / f"{part}-images-idx3-ubyte.gz", 3)
    labels = _idx(folder / f"{part}-labels-idx1-ubyte.gz", 1)
    if rows > len(labels):
        raise ExperimentUnsuitable(f"Fashion-MNIST has {len(labels)} rows in part {part}, the experiment wants {rows}.")
    count = rows or len(labels)
    names = [FASHION_CLASSES[label] for label in labels[:count]]
    return LocalData(
        schema=schema,
        frame=pd.DataFrame({"garment": np.array(names, dtype=object)}),
        record_ids=tuple(f"{part}-{number:05}" for number in range(count)),
        images={"image": images[:count]},
    )


def _idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    try:
        content = gzip.decompress(read_limited(path, max_bytes=_MOST_BYTES, what="a part of Fashion-MNIST"))
    except (gzip.BadGzipFile, EOFError) as error:
        raise ExperimentUnsuitable(f"{path.name} is no gzip file: {error}.") from None
    header = np.frombuffer(content[: 4 * (dimensions + 1)], dtype=">u4")
    if len(header) != dimensions + 1 or header[0] != _MAGIC[dimensions]:
        raise ExperimentUnsuitable(f"{path.name} is not an IDX file of {dimensions} dimensions.")
    shape = tuple(int(side) for side in header[1:])
    body = np.frombuffer(content[4 * (dimensions + 1) :], dtype=np.uint8)
    if body.size != math.prod(shape):
        raise ExperimentUnsuitable(f"{path.name} says {shape} and holds {body.size} values; it is damaged.")
    return body.reshape(shape)


def _files(data: Data, base: Path) -> Source:
    folder = base / data.folder
    path = folder / data.schema_file
    schema = load_schema(read_limited(path, max_bytes=1 << 18, what="a schema"), path.name)
    if schema.target is None:
        raise ExperimentUnsuitable(f"The schema {path.name} has no target, so there is nothing to learn.")
    sites = {name: load_dataset(folder / file, schema) for name, file in data.files.items()}
    held_out = {
        name: held_out_rows(rows.record_ids, rows.labels(schema.target), share=data.test_share, seed=0)
        for name, rows in sites.items()
    }
    return Source(
        schema=schema,
        features=data.features or tuple(column.name for column in schema.features),
        training={name: rows.rows(~held_out[name]) for name, rows in sites.items()},
        test={name: rows.rows(held_out[name]) for name, rows in sites.items()},
    )
