"""Dealing rows to virtual nodes: who gets which, as lists of row numbers. Pure functions of labels and seed."""

import numpy as np
from numpy.typing import NDArray

from fedseal.simulation.errors import ExperimentUnsuitable
from fedseal.simulation.experiment import Partition, PartitionKind

Rows = NDArray[np.intp]
ATTEMPTS = 1_000


def deal(partition: Partition, labels: NDArray[np.float64], *, seed: int) -> tuple[Rows, ...]:
    """Row numbers of each node, sorted; no row goes to two nodes.

    Args:
        partition: ``iid``: a random equal split. ``classes``: node k has the classes k, k + 1, ... (modulo their
            number, spread evenly when there are more nodes). ``dirichlet``: of each class, shares drawn from
            Dirichlet(alpha) over the nodes (Hsu et al. 2019). Not ``natural``: there the sites are the nodes.
        labels: Class of each row, shape (rows,).
        seed: Any non-negative integer.

    Raises:
        ExperimentUnsuitable: There are too few rows for the nodes asked for.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    if partition.kind is PartitionKind.NATURAL:
        raise ValueError("with `natural` rows are not dealt out")
    if len(labels) < partition.nodes:
        raise ExperimentUnsuitable(f"{len(labels)} rows cannot be dealt to {partition.nodes} nodes; ask fewer.")
    if partition.kind is PartitionKind.IID:
        parts = [np.sort(part) for part in np.array_split(generator.permutation(len(labels)), partition.nodes)]
    elif partition.kind is PartitionKind.CLASSES:
        parts = _by_classes(partition, labels, generator)
    else:
        parts = _dirichlet(partition, labels, generator)
    return tuple(_at_most(part, partition, generator) for part in parts)


def _by_classes(partition: Partition, labels: NDArray[np.float64], generator: np.random.Generator) -> list[Rows]:
    classes = np.unique(labels)
    stride = max(1, len(classes) // max(partition.classes_per_node, 1))
    wanted = [
        {int((node + step * stride) % len(classes)) for step in range(partition.classes_per_node)}
        for node in range(partition.nodes)
    ]
    pieces: list[list[Rows]] = [[] for _ in range(partition.nodes)]
    for place, value in enumerate(classes):
        takers = [node for node in range(partition.nodes) if place in wanted[node]]
        rows = generator.permutation(np.flatnonzero(labels == value))
        for node, part in zip(takers, np.array_split(rows, max(len(takers), 1)), strict=False):
            pieces[node].append(part)
    if any(not sum(len(piece) for piece in node) for node in pieces):
        raise ExperimentUnsuitable("With these classes a node would have no rows; ask fewer nodes or more rows.")
    return [np.sort(np.concatenate(node)) for node in pieces]


def _dirichlet(partition: Partition, labels: NDArray[np.float64], generator: np.random.Generator) -> list[Rows]:
    if partition.minimum_rows * partition.nodes > len(labels):
        raise ExperimentUnsuitable(
            f"{len(labels)} rows cannot give {partition.nodes} nodes {partition.minimum_rows} each; lower one of them."
        )
    for _ in range(ATTEMPTS):
        pieces: list[list[Rows]] = [[] for _ in range(partition.nodes)]
        for value in np.unique(labels):
            rows = generator.permutation(np.flatnonzero(labels == value))
            shares = generator.dirichlet(np.full(partition.nodes, partition.alpha))
            cuts = np.round(np.cumsum(shares)[:-1] * len(rows)).astype(np.intp)
            for node, part in enumerate(np.split(rows, cuts)):
                pieces[node].append(part)
        parts = [np.sort(np.concatenate(node)) for node in pieces]
        if min(len(part) for part in parts) >= partition.minimum_rows:
            return parts
    raise ExperimentUnsuitable(
        f"In {ATTEMPTS} draws some node always got fewer than {partition.minimum_rows} rows; raise `alpha` or lower "
        "`nodes` or `minimum_rows`."
    )


def _at_most(part: Rows, partition: Partition, generator: np.random.Generator) -> Rows:
    most = partition.rows_per_node
    if not most or len(part) <= most:
        return part
    return np.sort(generator.permutation(part)[:most])
