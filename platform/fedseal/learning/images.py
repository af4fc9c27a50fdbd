"""Images of a dataset: a safetensors file beside the CSV file, one tensor per image column.

Rules this module keeps:
- Names, shapes and dtypes are exactly those of the schema; one image per row of the CSV file, in its order.
- Pixels lie in the column's range; what is out of it is refused like any other cell.

safetensors (https://github.com/huggingface/safetensors) holds no code. It leaves out photographs in their usual
formats: a site converts them once, when it registers them.
"""

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from fedseal.learning.errors import DatasetError
from fedseal_governance.datasets import Column, ColumnRole, ColumnType, DatasetSchema

Images: TypeAlias = NDArray[Any]
"""uint8 or float32, shape (rows, *shape)."""

SUFFIX = ".safetensors"
MAX_IMAGE_BYTES = 8 << 30
PIXEL_TYPES = frozenset({"uint8", "float32"})


def image_columns(schema: DatasetSchema) -> tuple[Column, ...]:
    """The image columns that a job may use."""
    return tuple(c for c in schema.columns if c.type is ColumnType.IMAGE and c.role is ColumnRole.FEATURE)


def images_file(table: Path, schema: DatasetSchema) -> Path | None:
    """Where the images of the CSV file ``table`` lie; None if the schema has none."""
    return table.with_suffix(SUFFIX) if image_columns(schema) else None


def load_images(table: Path, schema: DatasetSchema, *, rows: int) -> dict[str, Images]:
    """Read and check the images beside ``table``; nothing where the schema has none.

    Raises:
        DatasetError: The file is missing, unreadable, or differs from the schema.
    """
    path = images_file(table, schema)
    if path is None:
        return {}
    tensors = _read(path)
    columns = image_columns(schema)
    if tensors.keys() != {column.name for column in columns}:
        wanted = ", ".join(column.name for column in columns)
        raise DatasetError(path.name, f"holds the tensors {', '.join(sorted(tensors)) or 'none'}; expected: {wanted}.")
    for column in columns:
        _check(tensors[column.name], column, rows, path.name)
    return tensors


def _read(path: Path) -> dict[str, Images]:
    try:
        if path.stat().st_size > MAX_IMAGE_BYTES:
            raise DatasetError(path.name, f"is larger than {MAX_IMAGE_BYTES} bytes; split the dataset.")
        return dict(load_file(path))
    except OSError as error:
        raise DatasetError(
            str(path), f"cannot be read ({error.strerror}); the images lie beside the CSV file, under its name."
        ) from None
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        # KeyError, TypeError, ValueError: dtypes that safetensors allows and NumPy does not have.
        raise DatasetError(path.name, f"is not a readable safetensors file ({type(error).__name__}).") from None


def _check(images: Images, column: Column, rows: int, source: str) -> None:
    expected = (rows, *column.shape)
    if images.shape != expected:
        raise DatasetError(source, f"has the shape {images.shape}, expected {expected}.", column=column.name)
    if str(images.dtype) not in PIXEL_TYPES:
        raise DatasetError(source, f"is of type {images.dtype}; write uint8 or float32.", column=column.name)
    low, high = column.range or (0.0, 0.0)
    # A comparison with NaN is false, so this refuses NaN as well.
    if images.size and not (float(images.min()) >= low and float(images.max()) <= high):
        raise DatasetError(source, f"has pixels outside the schema's range {low:g} to {high:g}.", column=column.name)


def scaled(images: Images, column: Column) -> NDArray[np.float32]:
    """Pixels as numbers between 0 and 1, one flat row per image: shape (rows, product of the column's shape)."""
    low, high = column.range or (0.0, 1.0)
    flat = images.reshape(len(images), -1).astype(np.float32)
    return np.asarray((flat - np.float32(low)) / np.float32(high - low), dtype=np.float32)
