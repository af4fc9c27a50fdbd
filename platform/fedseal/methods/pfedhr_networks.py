"""pFedHR's work on networks (torch): reassembling at the coordinator, matching at the node."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fedseal.learning.blocks import Block
from fedseal.learning.learner import Examples
from fedseal.learning.network_family import BlockNetwork, NetworkFamily, parameter_count
from fedseal.learning.reassembled import Candidate, Tuning, block_module, logits, observe, tune
from fedseal.learning.tensors import NamedTensors
from fedseal.methods.errors import BroadcastRefused
from fedseal.methods.reassembly import (
    Observed,
    distances,
    may_follow,
    medoid_groups,
    reassembled,
    similarity,
)

Floats = NDArray[np.float64]

MOST_COMPARED = 128
"""Public rows on which blocks are compared; CKA needs few, and its matrices grow with their square."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What candidates there may be.

    Attributes:
        clusters: Groups of blocks (K).
        most: Candidates at most.
        largest: Parameters of each at most.
    """

    clusters: int
    most: int
    largest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A candidate with its parameters.

    Attributes:
        numbers: Its blocks, counted through all networks of the family, from 0.
        candidate: What it is made of.
        parameters: Its own copy.
    """

    numbers: tuple[int, ...]
    candidate: Candidate
    parameters: NamedTensors

    def logits(self, inputs: NDArray[np.float32]) -> Floats:
        """Of each row, shape (rows, classes)."""
        return logits(self.candidate.module(self.parameters), inputs)


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """The coordinator's place for candidates.

    Attributes:
        family: The job's networks.
        width: Values of a row.
        rows: Public.
        tuning: How networks are trained on them.
    """

    family: NetworkFamily
    width: int
    rows: Examples
    tuning: Tuning

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks of the family, in order of networks."""
        return all_blocks(self.family, self.width)

    def reassemble(self, sources: Sequence[tuple[int, NamedTensors]], limits: Limits, seed: int) -> list[Network]:
        """Candidates from the blocks of ``sources``, trained; none where the rules allow none that is small enough.

        Where so many groups of blocks leave no candidate, fewer groups are tried, down to one.

        Args:
            sources: Number in the family, and parameters, of each network.
            limits: Which candidates there may be.
            seed: Decides the groups' first medoid, which candidates are kept, and stitches.
        """
        observed = [block for number, (kind, own) in enumerate(sources) for block in self._observed(number, kind, own)]
        if not observed:
            return []
        apart = distances(observed)
        for clusters in range(limits.clusters, 0, -1):
            generator = np.random.Generator(np.random.Philox(seed))
            chains = reassembled([one.block for one in observed], medoid_groups(apart, clusters, generator))
            found = []
            for place in generator.permutation(len(chains)):
                chain = [observed[number] for number in chains[place]]
                candidate = self._candidate(tuple(one.block for one in chain))
                if candidate.size <= limits.largest:
                    found.append((chain, candidate, seed + int(place)))
            if found:
                return [self._made(sources, *one) for one in found[: limits.most]]
        return []

    def _made(
        self, sources: Sequence[tuple[int, NamedTensors]], chain: Sequence[Observed], candidate: Candidate, seed: int
    ) -> Network:
        layers = [_layer(sources[one.network][1], one.block) for one in chain]
        numbers = tuple(self._first(sources[one.network][0]) + one.block.index for one in chain)
        return self._tuned(numbers, candidate, candidate.start(layers, seed))

    def from_public_rows(self, seed: int, largest: int) -> list[Network]:
        """A control: the family's largest network of at most ``largest`` parameters, trained on public rows alone."""
        sizes = [parameter_count(network.blocks(self.width)) for network in self.family.networks]
        fitting = [kind for kind, size in enumerate(sizes) if size <= largest]
        if not fitting:
            return []
        kind = max(fitting, key=lambda one: sizes[one])
        network = self.family.networks[kind]
        own, blocks = network.initial_parameters(self.width, seed), network.blocks(self.width)
        candidate = self._candidate(blocks)
        start = candidate.start([_layer(own, block) for block in blocks], seed)
        return [self._tuned(tuple(self._first(kind) + block.index for block in blocks), candidate, start)]

    def accuracy(self, network: Network) -> float:
        """On the public rows, 0 to 1."""
        return float(np.mean(network.logits(self.rows.inputs).argmax(axis=1) == self.rows.labels))

    def _tuned(self, numbers: tuple[int, ...], candidate: Candidate, start: NamedTensors) -> Network:
        parameters = tune(candidate.module(start), self.rows, self.tuning)
        return Network(numbers=numbers, candidate=candidate, parameters=parameters)

    def _candidate(self, chain: tuple[Block, ...]) -> Candidate:
        return _candidate(self.family, self.width, chain)

    def _first(self, kind: int) -> int:
        return sum(len(network.blocks(self.width)) for network in self.family.networks[:kind])

    def _observed(self, number: int, kind: int, own: NamedTensors) -> list[Observed]:
        blocks = self.family.networks[kind].blocks(self.width)
        row = self.family.settings.row_shape(self.width)
        found = observe(block_module(blocks, row, own), self.rows.inputs[:MOST_COMPARED])
        return [
            Observed(network=number, block=block, inputs=found[block.index], outputs=found[block.index + 1])
            for block in blocks
        ]


def all_blocks(family: NetworkFamily, width: int) -> tuple[Block, ...]:
    """All blocks of a family, in order of networks."""
    return tuple(block for network in family.networks for block in network.blocks(width))


def received(family: NetworkFamily, width: int, parts: Floats, values: Floats) -> list[Network]:
    """The candidates of a broadcast; none before the first were made.

    Args:
        family: The job's networks.
        width: Values of a row.
        parts: Shape (candidates, blocks): numbers of blocks from 1, 0 behind the last.
        values: Shape (candidates, numbers): parameters, zeros behind the last.

    Raises:
        BroadcastRefused: Blocks that there are not, that may not follow one another, or that do not fit the space.
    """
    blocks = all_blocks(family, width)
    found = []
    for row, flat in zip(np.asarray(parts, dtype=np.float64), np.asarray(values, dtype=np.float64), strict=True):
        length = int(np.count_nonzero(row))
        if not length:
            continue
        numbers = row[:length] - 1
        if (
            row[length:].any()
            or (numbers != np.rint(numbers)).any()
            or not (0 <= numbers.min() <= numbers.max() < len(blocks))
        ):
            raise BroadcastRefused("A candidate of the broadcast names blocks that there are not.")
        chain = tuple(blocks[int(number)] for number in numbers)
        if not all(may_follow(first, second) for first, second in pairwise(chain)):
            raise BroadcastRefused("A candidate of the broadcast has its blocks in an order that the rules forbid.")
        candidate = _candidate(family, width, chain)
        if candidate.size > len(flat):
            raise BroadcastRefused("A candidate of the broadcast is larger than the job allows.")
        found.append(
            Network(numbers=tuple(int(n) for n in numbers), candidate=candidate, parameters=candidate.unpacked(flat))
        )
    return found


def most_similar(
    own: tuple[BlockNetwork, NamedTensors],
    known: Sequence[Network],
    rows: Examples,
    *,
    compared: int,
    tuning: Tuning,
) -> int:
    """Number of the candidate whose logits are most like those of the own network on public rows.

    Args:
        own: The node's network; a copy of it is trained on the public rows first, as candidates were.
        known: The candidates, at least one.
        rows: Public.
        compared: On how many of them logits are compared.
        tuning: How the copy is trained; with no epochs it stays as it is.
    """
    network, parameters = own
    width = rows.inputs.shape[1]
    blocks, row = network.blocks(width), network.settings.row_shape(width)
    copy = block_module(blocks, row, parameters)
    if tuning.epochs:
        tune(copy, rows, tuning)
    inputs = rows.inputs[:compared]
    mine = logits(copy, inputs)
    return int(np.argmax([similarity(mine, one.logits(inputs)) for one in known]))


def _candidate(family: NetworkFamily, width: int, chain: tuple[Block, ...]) -> Candidate:
    return Candidate(chain=chain, row=family.settings.row_shape(width), outputs=family.networks[0].outputs)


def _layer(parameters: NamedTensors, block: Block) -> NamedTensors:
    return {part: parameters[f"block{block.index}.{part}"] for part in ("weight", "bias")}
