"""What every benchmark writes with JSON=FILE."""

from typing import TypedDict


class Row(TypedDict):
    """One row of the JSON file that every benchmark writes."""

    case: str
    metric: str
    unit: str
    ours: float
    peer: float | None
    floor: float | None
