"""Which layers do the same work, and how they may be put together anew: the planning of pFedHR.

Wang et al. 2023 (NeurIPS, arXiv 2308.08643), without networks: blocks are numbers here, with what came in and what
went out of them on the same P public rows.

    similarity    CKA(X, Y) = <HKxH, HKyH> / (||HKxH|| ||HKyH||), Kx = X X^T, H = I - 11^T / P
    distance      1 / (CKA of inputs + CKA of outputs), at least 1/2
    groups        K medoids on the distances (the paper: K-means-style; medoids need no padding of features)
    candidates    the paper's Algorithm 1; see `reassembled`

Groups are numbered by the mean place of their blocks, so that the walk over them goes from early to late.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedseal.learning.blocks import Block

Floats = NDArray[np.float64]

UNRELATED = 1e-6
"""Least summed similarity: blocks without any are this far apart, not infinitely."""
SWAPS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One block of one network at work.

    Attributes:
        network: Which network, by number.
        block: What it is.
        inputs: Of the public rows, shape (P, ...), P at least 2.
        outputs: What it made of them, shape (P, ...).
    """

    network: int
    block: Block
    inputs: NDArray[np.float32]
    outputs: NDArray[np.float32]


def centred_gram(features: NDArray[np.float32]) -> Floats:
    """HKH of flattened features, shape (P, P), scaled to a norm of 1; zeros where all rows are alike."""
    flat = features.reshape(len(features), -1).astype(np.float64)
    flat = flat - flat.mean(axis=0)
    gram = flat @ flat.T
    norm = float(np.linalg.norm(gram))
    return np.asarray(gram / norm if norm > 0 else gram)


def cka(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Linear CKA of two representations of the same rows, 0 to 1; 0 if one of them tells no rows apart."""
    return float(np.sum(centred_gram(first) * centred_gram(second)))


def distances(observed: Sequence[Observed]) -> Floats:
    """Between all blocks, symmetric, shape (blocks, blocks); 1/2 for blocks that do the same."""
    flat = [np.stack([centred_gram(one.inputs).ravel() for one in observed])]
    flat.append(np.stack([centred_gram(one.outputs).ravel() for one in observed]))
    similarity = sum(part @ part.T for part in flat)
    return np.asarray(1.0 / np.maximum(similarity, UNRELATED))


def medoid_groups(distance: Floats, count: int, generator: np.random.Generator) -> list[list[int]]:
    """At most ``count`` groups of near blocks, none empty; deterministic given the generator.

    Args:
        distance: Symmetric.
        count: Groups wanted, at least 1; no more than there are blocks are made.
        generator: Draws the first medoid; the next ones are those farthest from all so far.
    """
    size = len(distance)
    medoids = [int(generator.integers(size))]
    while len(medoids) < min(count, size):
        nearest = distance[:, medoids].min(axis=1)
        nearest[medoids] = -1.0
        medoids.append(int(nearest.argmax()))
    for _ in range(SWAPS):
        labels = distance[:, medoids].argmin(axis=1)
        members = [np.flatnonzero(labels == number) for number in range(len(medoids))]
        better = [
            int(part[distance[np.ix_(part, part)].sum(axis=1).argmin()]) if len(part) else medoids[number]
            for number, part in enumerate(members)
        ]
        if better == medoids:
            break
        medoids = better
    labels = distance[:, medoids].argmin(axis=1)
    found = [np.flatnonzero(labels == number).tolist() for number in range(len(medoids))]
    return [part for part in found if part]


def may_follow(last: Block, block: Block) -> bool:
    """The paper's rules for the next block.

    R1: its place in its own network is later. R2: no convolution after a linear layer.
    """
    return block.index > last.index and not (last.kind == "fc" and block.kind == "conv")


def reassembled(blocks: Sequence[Block], groups: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """All candidates of Algorithm 1, without doubles, as numbers of blocks in order.

    From each block a candidate begins, and the walk over all groups appends every block that may follow (R1, R2). It is
    kept if every operation type that there is at all occurs in it (R3), and every group (R4).
    """
    ordered = sorted(groups, key=lambda group: (float(np.mean([blocks[one].index for one in group])), group[0]))
    kinds = {block.kind for block in blocks}
    found: dict[tuple[int, ...], None] = {}
    for group in ordered:
        for start in group:
            chain = [start]
            for block in (one for other in ordered for one in other):
                if may_follow(blocks[chain[-1]], blocks[block]):
                    chain.append(block)
            if {blocks[one].kind for one in chain} == kinds and all(set(chain) & set(part) for part in ordered):
                found[tuple(chain)] = None
    return list(found)


def similarity(student: Floats, teacher: Floats) -> float:
    """Mean over rows of the cosine of two networks' logits; rows without length count 0."""
    lengths = np.linalg.norm(student, axis=1) * np.linalg.norm(teacher, axis=1)
    products = np.sum(student * teacher, axis=1)
    return float(np.mean(np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)))
