"""Memory of a masked round, for `masking.py`: what is allocated, and a vector of a hundred million parameters.

Allocations are counted by tracemalloc, to which numpy reports its arrays; the large round runs in a process of its
own, whose largest resident size the system tells.
"""

import json
import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from _masked_round import Case, Costs, Round
from _rows import Row
from rich.table import Table

from fedseal_crypto.masking import MaskedInput, MaskedInputHeader, MaskingClient, WireMessage

LARGE = 100_000_000
LARGE_MEMBERS = 3
LARGE_SECONDS = 1800


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """In sizes of the ring vector, unless said otherwise.

    Attributes:
        coordinator: Allocated at most while all vectors arrive, by number of members.
        member: Allocated at most by one member from its floats, which are not counted, to the masked vector.
        large_seconds: CPU of the large round, all parties.
        large_resident: Largest resident bytes of the large round's process, all parties in it.
        large_vector: Bytes of its vector.
    """

    coordinator: dict[int, float]
    member: float
    large_seconds: float
    large_resident: int
    large_vector: int


def measure_memory() -> Memory:
    """All of it; about half a minute."""
    large = json.loads(
        subprocess.run(
            [sys.executable, __file__], capture_output=True, text=True, check=True, timeout=LARGE_SECONDS
        ).stdout
    )
    return Memory(coordinator={n: coordinator_peak(n) for n in (10, 100)}, member=member_peak(), **large)


def coordinator_peak(members: int) -> float:
    """Vectors that a coordinator allocates while `members` contribute."""
    played = CountedRound(members)
    played.play()
    return played.server_peak / played.layout.wire_bytes


def member_peak() -> float:
    """Vectors that one of ten members allocates beside the floats it was given: ring words, masked words, blocks."""
    played = CountedRound(10)
    played.play()
    return played.client_peak / played.layout.wire_bytes


class CountedRound(Round):
    """A round of which the allocations are counted while vectors are encoded, masked and added."""

    def __init__(self, members: int) -> None:
        case = Case(members=members)
        super().__init__(case, np.ones(case.length, np.float32))
        self.server_peak = 0
        self.client_peak = 0

    def mask(self, client: MaskingClient, delivery: WireMessage) -> MaskedInput:
        """Count a member's allocations."""
        with _counting() as peak:
            masked = super().mask(client, delivery)
            self.client_peak = max(self.client_peak, peak())
        return masked

    def take(self, header: MaskedInputHeader, raw: bytes) -> None:
        """Count the coordinator's allocations; the accumulator, which the first vector makes, stays."""
        first = not self.costs.masking[1:]
        with _counting() as peak:
            super().take(header, raw)
            self.server_peak = max(self.server_peak, peak() + (0 if first else self.layout.wire_bytes))


@contextmanager
def _counting() -> Iterator[Callable[[], int]]:
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def memory_table(memory: Memory) -> Table:
    """What is allocated."""
    table = Table(title="Memory", caption="vectors: multiples of the ring vector; counted allocations")
    table.add_column("what")
    table.add_column("figure", justify="right")
    for members, vectors in memory.coordinator.items():
        table.add_row(f"coordinator, {members} members contribute", f"{vectors:.2f} vectors")
    table.add_row("a member, beside the floats it is given", f"{memory.member:.2f} vectors")
    table.add_row("100 M parameters, 3 members, whole round", f"{memory.large_seconds:.1f} CPU s")
    table.add_row("  its vector", f"{memory.large_vector / 1e6:.0f} MB")
    table.add_row("  resident, all parties in one process", f"{memory.large_resident / 1e6:.0f} MB")
    return table


def memory_rows(memory: Memory) -> list[Row]:
    """The rows for JSON=FILE."""
    figures = [
        *((f"coordinator, {n} members", "peak allocation", "vectors", v) for n, v in memory.coordinator.items()),
        ("member", "peak allocation", "vectors", memory.member),
        ("100 M parameters, 3 members", "round, all parties", "s", memory.large_seconds),
        ("100 M parameters, 3 members", "resident", "bytes", float(memory.large_resident)),
    ]
    return [
        Row(case=case, metric=metric, unit=unit, ours=ours, peer=None, floor=None)
        for case, metric, unit, ours in figures
    ]


def broken_memory(memory: Memory) -> list[str]:
    """Sentences about memory promises that do not hold."""
    out = []
    if memory.member > 3:
        out.append(f"a member needs {memory.member:.2f} vectors, promised 3")
    few, many = memory.coordinator[10], memory.coordinator[100]
    if many > 1.05 * few:
        out.append(f"the coordinator needs {few:.2f} vectors for 10 members and {many:.2f} for 100")
    return out


def main() -> None:
    """The large round; prints one line of JSON."""
    case = Case(members=LARGE_MEMBERS, length=LARGE)
    played = Round(case, np.full(case.length, 0.25, np.float32))
    costs: Costs = played.play()
    answer = {
        "large_seconds": costs.total,
        "large_resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "large_vector": costs.vector,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
