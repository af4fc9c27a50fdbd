"""A dataset's schema: which columns it has and what each may contain.

Every node of a federation registers its dataset under the same schema file; the file's digest pins it.

Rules kept here:

1. Exactly one column is the record identifier, to which consents refer; at most one is the target.
2. Every value has a declared place: a number its range, a category its list, so that a site can clip,
   encode and bound what it contributes without looking at any other site's data.
"""

from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from fedseal_governance.documents import Document, fault, load_yaml
from fedseal_governance.vocabulary import ColumnName, Name

MAX_COLUMNS = 2_000
MAX_CATEGORIES = 1_000
MAX_SIDES = 4
MAX_SIDE = 8_192

Value = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class ColumnType(StrEnum):
    """What a column's cells are."""

    NUMBER = "number"
    CATEGORY = "category"
    BOOLEAN = "boolean"
    IMAGE = "image"


class ColumnRole(StrEnum):
    """What a column is for."""

    FEATURE = "feature"
    TARGET = "target"
    RECORD_ID = "record_id"
    IGNORED = "ignored"


class Column(Document):
    """One column.

    Attributes:
        name: as in the header of the data file.
        type: what its cells are; the record identifier and ignored columns are read as text whatever it says.
        role: what it is for.
        categories: every value of a category, in the order in which it is encoded.
        range: smallest and largest value of a number, in the column's own unit.
        missing_values: cells that mean "not measured", besides the empty cell (0 for a cholesterol, say).
        positive: values of a target that count as yes; none for a boolean. A target with three or more
            categories may leave it out: then the category itself is predicted.
        unit: of a number, for people.
        shape: of an image, (height, width) or (channels, height, width). Images are not cells of the CSV file:
            they lie beside it in a safetensors file of the same name, one tensor of shape (rows, *shape) per
            column, in the order of the file's rows.
    """

    name: ColumnName
    type: ColumnType = ColumnType.CATEGORY
    role: ColumnRole = ColumnRole.FEATURE
    categories: Annotated[tuple[Value, ...], Field(max_length=MAX_CATEGORIES)] = ()
    range: tuple[float, float] | None = None
    missing_values: Annotated[tuple[str | int | float, ...], Field(max_length=100)] = ()
    positive: Annotated[tuple[Value, ...], Field(max_length=MAX_CATEGORIES)] = ()
    unit: Annotated[str, StringConstraints(max_length=40)] = ""
    shape: Annotated[tuple[Annotated[int, Field(ge=1, le=MAX_SIDE)], ...], Field(max_length=MAX_SIDES)] = ()

    @property
    def classes(self) -> int:
        """Of a target: what can be predicted; 2 for yes or no."""
        return len(self.categories) if self.type is ColumnType.CATEGORY and not self.positive else 2

    @model_validator(mode="after")
    def _values_fit_type(self) -> "Column":
        if self.role in (ColumnRole.RECORD_ID, ColumnRole.IGNORED):
            return self
        where = f"the column `{self.name}`"
        if (self.type is ColumnType.CATEGORY) != bool(self.categories):
            wanted = "lists no categories" if not self.categories else "has categories but is not a category"
            raise fault(
                f"{where} {wanted}",
                "list every value under `categories`, for a category only",
                key="categories",
            )
        if len(set(self.categories)) != len(self.categories):
            raise fault(f"{where} lists a category twice", "keep one", key="categories")
        ranged = self.type in (ColumnType.NUMBER, ColumnType.IMAGE)
        if ranged != (self.range is not None):
            wanted = "has no range" if self.range is None else "has a range but is neither a number nor an image"
            raise fault(f"{where} {wanted}", "write `range: [lowest, highest]`, for numbers and images", key="range")
        if self.range is not None and not self.range[0] < self.range[1]:
            raise fault(f"the range of {where} is empty", "write the lower bound first", key="range")
        if (self.type is ColumnType.IMAGE) != bool(self.shape):
            wanted = "is an image without a shape" if not self.shape else "has a shape but is no image"
            raise fault(f"{where} {wanted}", "write `shape: [height, width]`, for an image only", key="shape")
        if self.type is ColumnType.IMAGE and self.missing_values:
            raise fault(
                f"{where} is an image", "remove `missing_values`; every row has its image", key="missing_values"
            )
        self._check_positive(where)
        return self

    def _check_positive(self, where: str) -> None:
        if self.role is ColumnRole.TARGET and self.type in (ColumnType.NUMBER, ColumnType.IMAGE):
            a_what = "a number" if self.type is ColumnType.NUMBER else "an image"
            raise fault(f"{where} is a target but {a_what}", "write `type: category` or `boolean`", key="type")
        is_category_target = self.role is ColumnRole.TARGET and self.type is ColumnType.CATEGORY
        needed = is_category_target and len(self.categories) <= 2
        if (needed and not self.positive) or (self.positive and not is_category_target):
            wanted = "does not say which values count as yes" if needed else "has `positive` but is no category target"
            raise fault(f"{where} {wanted}", "list them under `positive`, for a category target only", key="positive")
        unknown = [value for value in self.positive if value not in self.categories]
        if unknown:
            raise fault(f"`{unknown[0]}` is no category of {where}", "choose from its categories", key="positive")
        if self.positive and set(self.positive) == set(self.categories):
            raise fault(f"every category of {where} counts as yes", "leave at least one out", key="positive")


class DatasetSchema(Document):
    """The columns of a dataset, in the order in which they are encoded."""

    dataset: Name
    version: Literal[1] = 1
    description: Annotated[str, StringConstraints(max_length=2000)] = ""
    columns: Annotated[tuple[Column, ...], Field(min_length=2, max_length=MAX_COLUMNS)]

    @model_validator(mode="after")
    def _roles_are_clear(self) -> "DatasetSchema":
        names = [column.name for column in self.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise fault(f"the column `{twice[0]}` is described twice", "keep one", key="columns")
        identifiers = [c.name for c in self.columns if c.role is ColumnRole.RECORD_ID]
        if len(identifiers) != 1:
            raise fault(
                f"{len(identifiers)} columns have the role record_id",
                "give it to exactly one, the one that consents refer to",
                key="columns",
            )
        if sum(c.role is ColumnRole.TARGET for c in self.columns) > 1:
            raise fault("more than one column has the role target", "give it to one", key="columns")
        return self

    @property
    def record_id(self) -> Column:
        """The column that holds the pseudonym of each record."""
        return next(column for column in self.columns if column.role is ColumnRole.RECORD_ID)

    @property
    def features(self) -> tuple[Column, ...]:
        """Columns that a job may use as input."""
        return tuple(column for column in self.columns if column.role is ColumnRole.FEATURE)

    @property
    def target(self) -> Column | None:
        """The column that a training job may predict."""
        return next((column for column in self.columns if column.role is ColumnRole.TARGET), None)

    def column(self, name: str) -> Column:
        """The column called ``name``.

        Raises:
            KeyError: there is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


@lru_cache(maxsize=64)
def load_schema(data: bytes, filename: str) -> DatasetSchema:
    """Read a schema file; the SHA-256 of ``data`` is the schema's digest.

    Raises:
        DocumentError: with every problem found.
    """
    return load_yaml(data, filename, DatasetSchema)
