"""Datasets registered at a node: schema, what was pinned at registration, and drift since then.

The data itself never comes here; the platform hands in counts and digests.
"""

from fedseal_governance.datasets.baseline import Baseline, RowChanges, row_changes
from fedseal_governance.datasets.registry import (
    DatasetFacts,
    Drift,
    Registration,
    approve,
    baseline_of,
    compare,
    list_registered,
    register,
    registered,
)
from fedseal_governance.datasets.schema import Column, ColumnRole, ColumnType, DatasetSchema, load_schema

__all__ = [
    "Baseline",
    "Column",
    "ColumnRole",
    "ColumnType",
    "DatasetFacts",
    "DatasetSchema",
    "Drift",
    "Registration",
    "RowChanges",
    "approve",
    "baseline_of",
    "compare",
    "list_registered",
    "load_schema",
    "register",
    "registered",
    "row_changes",
]
