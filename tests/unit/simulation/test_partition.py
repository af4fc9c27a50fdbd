"""Rows are dealt completely, to one node each, in the way that was asked for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedseal.simulation.errors import ExperimentUnsuitable
from fedseal.simulation.experiment import Partition
from fedseal.simulation.partition import Rows, deal

labels = st.integers(2, 6).flatmap(
    lambda classes: st.integers(60, 200).map(lambda rows: np.arange(rows, dtype=np.float64) % classes)
)
seeds = st.integers(0, 2**31)
OF_KIND: dict[str, dict[str, float]] = {
    "iid": {},
    "dirichlet": {"alpha": 1.0, "minimum_rows": 1},
    "classes": {"classes_per_node": 2},
}


def flat(parts: tuple[Rows, ...]) -> list[int]:
    return [int(row) for part in parts for row in part]


@settings(max_examples=60, deadline=None)
@given(labels=labels, nodes=st.integers(1, 8), seed=seeds, kind=st.sampled_from(["iid", "dirichlet", "classes"]))
def test_no_row_goes_to_two_nodes_and_the_seed_decides(
    labels: NDArray[np.float64], nodes: int, seed: int, kind: str
) -> None:
    partition = Partition.model_validate({"kind": kind, "nodes": nodes, **OF_KIND[kind]})
    parts = deal(partition, labels, seed=seed)
    rows = flat(parts)
    assert len(parts) == nodes
    assert len(set(rows)) == len(rows)
    assert all(list(part) == sorted(part) and len(part) for part in parts)
    if kind != "classes":
        assert sorted(rows) == list(range(len(labels)))
    again = deal(partition, labels, seed=seed)
    assert all(np.array_equal(one, two) for one, two in zip(parts, again, strict=True))


@settings(max_examples=30, deadline=None)
@given(labels=labels, nodes=st.integers(1, 8), seed=seeds)
def test_equal_split_differs_by_at_most_one(labels: NDArray[np.float64], nodes: int, seed: int) -> None:
    sizes = [len(part) for part in deal(Partition.model_validate({"nodes": nodes}), labels, seed=seed)]
    assert max(sizes) - min(sizes) <= 1


@settings(max_examples=30, deadline=None)
@given(labels=labels, nodes=st.integers(3, 8), wanted=st.integers(1, 2), seed=seeds)
def test_by_classes_gives_each_node_its_classes(
    labels: NDArray[np.float64], nodes: int, wanted: int, seed: int
) -> None:
    partition = Partition.model_validate({"kind": "classes", "nodes": nodes, "classes_per_node": wanted})
    parts = deal(partition, labels, seed=seed)
    assert all(len(np.unique(labels[part])) == wanted for part in parts)
    taken = {float(value) for part in parts for value in labels[part]}
    assert len(flat(parts)) == sum(int(np.sum(labels == value)) for value in taken), "a class is dealt out whole"


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_dirichlet_keeps_the_minimum_and_nears_equality(seed: int) -> None:
    labels = np.arange(600, dtype=np.float64) % 3
    skewed = Partition.model_validate({"kind": "dirichlet", "nodes": 4, "alpha": 0.5, "minimum_rows": 20})
    assert min(len(part) for part in deal(skewed, labels, seed=seed)) >= 20
    even = Partition.model_validate({"kind": "dirichlet", "nodes": 4, "alpha": 1e6})
    for part in deal(even, labels, seed=seed):
        counts = np.bincount(labels[part].astype(int), minlength=3)
        assert np.abs(counts - 50).max() <= 2


def test_at_most_so_many_rows() -> None:
    parts = deal(Partition.model_validate({"nodes": 3, "rows_per_node": 7}), np.zeros(90), seed=1)
    assert [len(part) for part in parts] == [7, 7, 7]


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"nodes": 50}, "ask fewer"),
        ({"kind": "dirichlet", "nodes": 5, "minimum_rows": 10}, "lower one"),
        ({"kind": "dirichlet", "nodes": 4, "alpha": 1e-4, "minimum_rows": 9}, "raise `alpha`"),
        ({"kind": "classes", "nodes": 4, "classes_per_node": 3}, "classes_per_node"),
        ({"kind": "classes", "nodes": 40, "classes_per_node": 1}, "no rows"),
    ],
)
def test_what_cannot_be_dealt_is_refused(asked: dict[str, object], word: str) -> None:
    labels = np.array([0.0] * 5 + [1.0] * 35)
    with pytest.raises(ExperimentUnsuitable, match=word):
        deal(Partition.model_validate(asked), labels, seed=1)
