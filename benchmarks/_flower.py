"""Flower's SecAgg+ as the peer of the masking benchmark.

    python benchmarks/_flower.py            prints what is cached, measures what is missing
    FRESH=1 python benchmarks/_flower.py    measures everything anew

Other benchmarks take `peer_rows`, or `stage_row` and `round_rows` in turn with their own measuring. One client's
masking stage takes seconds and is measured in every run, so that it is paired with ours; whole rounds take many minutes
and are kept in benchmarks/out/flower.json together with versions, machine and a yardstick: the CPU time of one fixed
hash, which shows how much other work on the machine slowed the figures down. `peers/flower_secagg.py` does the
measuring, in the peer's own environment.
"""

import hashlib
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from _peer_venv import Peer, PeerUnavailable
from rich.console import Console
from rich.table import Table

PEER = Peer(name="flower", requirements=("flwr==1.41.0",))
SCRIPT = Path(__file__).parent / "peers" / "flower_secagg.py"
CACHE = Path(__file__).parent / "out" / "flower.json"
NEIGHBOURS = (10, 30, 100)
STAGE_RUNS = 5
DROPPED = (0, 10, 30)
ROUND_SECONDS = 1800
YARDSTICK_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundCase:
    """One of the script's cases.

    Attributes:
        neighbours: Of each client; all others on the complete graph.
        runs: A round of 50 or 100 clients takes Flower 35 s or more.
    """

    name: str
    clients: int
    neighbours: int
    runs: int


ROUND_CASES = (
    RoundCase(name="10 full", clients=10, neighbours=9, runs=5),
    RoundCase(name="50 full", clients=50, neighbours=49, runs=3),
    RoundCase(name="100 with 30", clients=100, neighbours=30, runs=3),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRow:
    """One figure of Flower's; vectors have 1 M parameters.

    Attributes:
        kind: `masking` (one client's stage: quantise, own mask, one mask a neighbour) or `round`.
        clients: Of the round; 1 for the stage alone.
        neighbours: Of each client.
        dropped: Percent of the clients that leave before their masked vector.
        metric: `client`, `server` or `total`; serialisation is in the total only.
        cpu_seconds: Median of `runs`.
        yardstick: Milliseconds that the fixed hash took meanwhile.
    """

    kind: str
    clients: int
    neighbours: int
    dropped: int
    metric: str
    cpu_seconds: float
    runs: int
    yardstick: float


def peer_rows() -> tuple[PeerRow, ...]:
    """Every figure, measured or from the cache; none, with a line on standard error, if Flower cannot be installed."""
    try:
        return (*(stage_row(neighbours) for neighbours in NEIGHBOURS), *round_rows())
    except PeerUnavailable as error:
        print(f"no figures of Flower: {error}", file=sys.stderr)
        return ()


def yardstick() -> float:
    """Milliseconds of CPU for SHA-256 over 64 MiB: longer when other work shares the core."""
    data, times = bytes(YARDSTICK_BYTES), []
    for _ in range(3):
        start = time.process_time()
        hashlib.sha256(data).digest()
        times.append((time.process_time() - start) * 1e3)
    return statistics.median(times)


def machine() -> str:
    """Processor, cores and system, as far as they explain figures."""
    info = Path("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
    return f"{models[0] if models else platform.processor()}, {os.cpu_count()} cores, {platform.platform()}"


def stage_row(neighbours: int) -> PeerRow:
    """One client's masking stage, measured now.

    Raises:
        PeerUnavailable: Flower cannot be installed or run.
    """
    PEER.install()
    before = yardstick()
    arguments = ("masking", "--neighbours", str(neighbours), "--runs", str(STAGE_RUNS))
    measured = PEER.run(SCRIPT, *arguments, seconds=ROUND_SECONDS)
    return PeerRow(
        kind="masking",
        clients=1,
        neighbours=neighbours,
        dropped=0,
        metric="client",
        cpu_seconds=measured["cpu_seconds"],
        runs=STAGE_RUNS,
        yardstick=(before + yardstick()) / 2,
    )


def round_rows() -> tuple[PeerRow, ...]:
    """All whole rounds, from the cache as far as it has them.

    Raises:
        PeerUnavailable: Flower cannot be installed or run.
    """
    PEER.install()
    return tuple(_round_rows(_cached_rounds()))


def _round_rows(rounds: dict[str, list[dict[str, Any]]]) -> Iterator[PeerRow]:
    for case in ROUND_CASES:
        for dropped in DROPPED:
            runs = rounds[_label(case, dropped)]
            for metric in ("client", "server", "total"):
                yield PeerRow(
                    kind="round",
                    clients=case.clients,
                    neighbours=case.neighbours,
                    dropped=dropped,
                    metric=metric,
                    cpu_seconds=statistics.median(run[metric] for run in runs),
                    runs=len(runs),
                    yardstick=statistics.median(run["yardstick"] for run in runs),
                )


def _cached_rounds() -> dict[str, list[dict[str, Any]]]:
    """The runs of every case by label; what is not in the cache is measured and written there at once."""
    origin = {"machine": machine(), "versions": PEER.run(SCRIPT, "versions", seconds=ROUND_SECONDS)}
    cache = json.loads(CACHE.read_text()) if CACHE.is_file() and not os.environ.get("FRESH") else {}
    if any(cache.get(name) != value for name, value in origin.items()):
        cache = {}
    rounds: dict[str, list[dict[str, Any]]] = cache.get("rounds", {})
    for case in ROUND_CASES:
        for dropped in DROPPED:
            runs = rounds.setdefault(_label(case, dropped), [])
            while len(runs) < case.runs:
                print(f"Flower, {_label(case, dropped)}, run {len(runs) + 1} of {case.runs} …", file=sys.stderr)
                runs.append(_measured_round(case, dropped))
                CACHE.write_text(json.dumps({**origin, "rounds": rounds}, indent=1))
    return rounds


def _measured_round(case: RoundCase, dropped: int) -> dict[str, Any]:
    before = yardstick()
    arguments = ("round", "--case", case.name, "--dropped", str(dropped))
    measured = PEER.run(SCRIPT, *arguments, seconds=ROUND_SECONDS)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return {**measured, "yardstick": (before + yardstick()) / 2, "measured": when}


def _label(case: RoundCase, dropped: int) -> str:
    return f"{case.name}, {dropped} % dropped"


def main() -> None:
    """Show all figures."""
    table = Table(title="Flower 1.41.0 SecAgg+, 1 M parameters, CPU seconds", caption=machine())
    for heading in ("what", "clients", "neighbours", "dropped", "metric", "CPU s", "runs", "yardstick ms"):
        table.add_column(heading, justify="left" if heading in {"what", "metric"} else "right")
    for row in peer_rows():
        numbers = (f"{row.clients}", f"{row.neighbours}", f"{row.dropped} %")
        table.add_row(row.kind, *numbers, row.metric, f"{row.cpu_seconds:.3f}", f"{row.runs}", f"{row.yardstick:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
