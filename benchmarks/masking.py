"""Secure aggregation: what masks cost against the floor of this machine, and against Flower's SecAgg+.

    make bench-masking            prints tables and writes benchmarks/out/masking.png
    make bench-masking JSON=FILE  also writes rows {case, metric, unit, ours, peer, floor}

``floor`` is what the arithmetic alone costs at rates measured in the same run: for each mask one pass of keystream
and one addition of the vector. ``peer`` is Flower 1.41's SecAgg+ with the same vector and resolution, installed into an
environment of its own on first use (PEER=0 leaves it out); its masking stage is run in turn with ours, its whole rounds
are kept between runs (see `_flower`; FRESH=1 measures them anew). Figures are CPU seconds of one thread, medians of
five runs (of three for the peer's rounds of 50 and 100); wall times with two threads are given beside them.

Promised: masking at most 1.5 times the floor and at least 8 times faster than the peer; whole rounds at most 1/20
(50 members, complete graph) and 1/15 (100 members, 30 neighbours) of the peer's CPU; the coordinator at most twice
a plain sum over the same signed vectors; a member at most three vectors of memory, the coordinator the same for 10
members and for 100; a hundred million parameters pass through. The script exits 1 if one does not hold.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from rich.console import Console
from rich.table import Table

mpl.use("Agg")  # no display needed; must come before pyplot
from _flower import PeerRow, round_rows, stage_row, yardstick
from _masked_round import Case, Costs, layout_for, masked_round
from _memory import broken_memory, measure_memory, memory_rows, memory_table
from _peer_venv import PeerUnavailable
from _rows import Row
from matplotlib import pyplot as plt

from fedseal_crypto.encoding import RingVector
from fedseal_crypto.masking._keystream import MASK_KEY_SIZE, Mask, apply_masks
from fedseal_crypto.secret import SecretBytes

OUT = Path(__file__).parent / "out"
RUNS = 5
BLOCK = 128 << 10
NEIGHBOURS = (10, 30, 100)
OURS, THEIRS = "#0b6fa4", "#d1660f"
ROUNDS = (
    Case(members=10),
    Case(members=10, dropped=1),
    Case(members=10, dropped=3),
    Case(members=50),
    Case(members=50, dropped=5),
    Case(members=50, dropped=15),
    Case(members=100, neighbours=30),
    Case(members=100, neighbours=30, dropped=10),
    Case(members=100, neighbours=30, dropped=30),
)
# CPU seconds of the peer over ours that a whole round must reach.
ROUND_PROMISES = {50: 20.0, 100: 15.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Bytes per CPU second."""

    gcm: float
    gcm_256: float
    ctr: float
    chacha: float
    add: float

    def masks(self, count: int, size: int) -> float:
        """Seconds for `count` passes of keystream and addition over `size` bytes."""
        return count * size * (1 / self.gcm + 1 / self.add)


def median_of(call: Callable[[], object], runs: int = RUNS, clock: Callable[[], float] = time.process_time) -> float:
    """Median seconds of a call, after one that is not counted."""
    call()
    seconds = []
    for _ in range(runs):
        start = clock()
        call()
        seconds.append(clock() - start)
    return statistics.median(seconds)


def measure_rates() -> Rates:
    """Keystream in blocks that stay in cache; additions of a vector of a million words."""
    zeros, out = bytes(BLOCK), bytearray(BLOCK + 16)

    def stream(cipher: Cipher[modes.GCM] | Cipher[modes.CTR] | Cipher[None]) -> float:
        update_into = cipher.encryptor().update_into
        return 64 * BLOCK / median_of(lambda: [update_into(zeros, out) for _ in range(64)], 15)

    total, words = np.zeros(1_000_000, np.uint32), np.ones(1_000_000, np.uint32)
    return Rates(
        gcm=stream(Cipher(algorithms.AES128(os.urandom(16)), modes.GCM(bytes(12)))),
        gcm_256=stream(Cipher(algorithms.AES256(os.urandom(32)), modes.GCM(bytes(12)))),
        ctr=stream(Cipher(algorithms.AES128(os.urandom(16)), modes.CTR(bytes(16)))),
        chacha=stream(Cipher(algorithms.ChaCha20(os.urandom(32), bytes(16)), None)),
        add=total.nbytes / median_of(lambda: np.add(total, words, out=total), 51),
    )


def peer_stage(neighbours: int) -> float | None:
    """CPU seconds of the peer's masking stage, or None if it is not wanted or cannot be installed."""
    if os.environ.get("PEER") == "0":
        return None
    try:
        return stage_row(neighbours).cpu_seconds
    except PeerUnavailable as error:
        print(f"no figures of the peer: {error}", file=sys.stderr)
        return None


def peer_rounds() -> tuple[PeerRow, ...]:
    """The peer's whole rounds; none if it is not wanted or cannot be installed."""
    if os.environ.get("PEER") == "0":
        return ()
    try:
        return round_rows()
    except PeerUnavailable as error:
        print(f"no figures of the peer: {error}", file=sys.stderr)
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Masking:
    """A member's masking of a million parameters.

    Attributes:
        neighbours: Masks beside the self mask.
        ours: Encoding aside: a copy of the ring words with all masks added.
        encode: Floats to ring words.
        floor: See the module.
        wall_two: Wall seconds of `ours` with two threads.
        peer: Its masking stage, in which it also encodes.
    """

    neighbours: int
    ours: float
    encode: float
    floor: float
    wall_one: float
    wall_two: float
    peer: float | None


def measure_masking(neighbours: int, rates: Rates) -> Masking:
    """Ours and the peer's in turn."""
    layout = layout_for(Case(members=100))
    generator = np.random.default_rng(0)
    update = (generator.standard_normal(1_000_000) * 0.05).astype(np.float32)
    values = {"update": update, "weight": np.array([100.0]), "clipped": np.array([0.0])}
    words: RingVector = layout.encode(values, generator=generator).words
    masks = [Mask(SecretBytes(os.urandom(MASK_KEY_SIZE)), add=i % 2 == 0) for i in range(neighbours + 1)]
    return Masking(
        neighbours=neighbours,
        ours=median_of(lambda: apply_masks(words.copy(), masks)),
        encode=median_of(lambda: layout.encode(values, generator=generator)),
        floor=rates.masks(neighbours + 1, layout.wire_bytes),
        wall_one=median_of(lambda: apply_masks(words.copy(), masks), clock=time.perf_counter),
        wall_two=median_of(lambda: apply_masks(words.copy(), masks, workers=2), clock=time.perf_counter),
        peer=peer_stage(neighbours),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeRound:
    """A whole round: ours, the peer's totals, and the floor of all masks and additions."""

    case: Case
    ours: Costs
    floor: float
    server_floor: float
    peer: dict[str, float] | None


def measure_round(case: Case, rates: Rates, peer_rows: tuple[PeerRow, ...]) -> WholeRound:
    """The median run of ours by total, and the peer's figures by metric."""
    wanted = (case.members, case.degree, case.dropped * 100 // case.members)
    peer = {row.metric: row.cpu_seconds for row in peer_rows if (row.clients, row.neighbours, row.dropped) == wanted}
    runs = sorted((masked_round(case) for _ in range(RUNS)), key=lambda costs: costs.total)
    size, stay = runs[0].vector, case.members - case.dropped
    # A dropped member's masks with the survivors among its neighbours are taken out by the server.
    recovered = round(case.dropped * case.degree * stay / case.members)
    server = stay * size / rates.add + rates.masks(stay + recovered, size)
    return WholeRound(
        case=case,
        ours=runs[RUNS // 2],
        floor=stay * rates.masks(case.degree + 1, size) + server,
        server_floor=server,
        peer=peer or None,
    )


def ratio(peer: float | None, ours: float) -> str:
    """How many times faster, or nothing."""
    return "" if peer is None else f"{peer / ours:.1f}x"


def ms(seconds: float | None) -> str:
    """Milliseconds."""
    return "" if seconds is None else f"{seconds * 1e3:.2f}"


def tables(rates: Rates, maskings: list[Masking], rounds: list[WholeRound]) -> list[Table]:
    """What is printed."""
    primitives = Table(title="Rates, GB per CPU second", caption="AES-128 in GCM is the keystream; see _keystream")
    for heading in ("AES-128-GCM", "AES-256-GCM", "AES-128-CTR", "ChaCha20", "32-bit addition"):
        primitives.add_column(heading, justify="right")
    primitives.add_row(
        *(f"{rate / 1e9:.1f}" for rate in (rates.gcm, rates.gcm_256, rates.ctr, rates.chacha, rates.add))
    )

    client = Table(title="A member masks a million parameters, ms", caption="wall: one and two threads")
    for heading in ("neighbours", "masks", "floor", "of floor", "encode", "peer", "faster", "wall 1", "wall 2"):
        client.add_column(heading, justify="right")
    for one in maskings:
        client.add_row(
            f"{one.neighbours}",
            ms(one.ours),
            ms(one.floor),
            f"{one.ours / one.floor:.2f}",
            ms(one.encode),
            ms(one.peer),
            ratio(one.peer, one.ours + one.encode),
            ms(one.wall_one),
            ms(one.wall_two),
        )

    whole = Table(title="Whole round, a million parameters, CPU s", caption="plain: signature, digest, addition")
    for heading in (
        "case",
        "total",
        "peer",
        "faster",
        "floor",
        "a member",
        "server",
        "plain",
        "server/plain",
        "server floor",
    ):
        whole.add_column(heading, justify="left" if heading == "case" else "right")
    for run in rounds:
        costs, case = run.ours, run.case
        whole.add_row(
            case.name,
            f"{costs.total:.2f}",
            "" if run.peer is None else f"{run.peer['total']:.1f}",
            ratio(None if run.peer is None else run.peer["total"], costs.total),
            f"{run.floor:.2f}",
            f"{costs.client / case.members:.3f}",
            f"{costs.server:.3f}",
            f"{costs.plain_server:.3f}",
            f"{costs.server / costs.plain_server:.2f}",
            f"{run.server_floor:.3f}",
        )
    return [primitives, client, whole]


def plot(maskings: list[Masking], rounds: list[WholeRound], path: Path) -> None:
    """Masking against neighbours, and whole rounds, both logarithmic."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4.8), layout="constrained")
    degrees = [one.neighbours for one in maskings]
    whole = [(one.ours + one.encode) * 1e3 for one in maskings]
    left.plot(degrees, whole, "o-", color=OURS, label="fedseal: encode and mask")
    left.plot(degrees, [one.ours * 1e3 for one in maskings], "o--", color=OURS, label="fedseal: mask")
    left.plot(degrees, [one.floor * 1e3 for one in maskings], "k:", label="floor: keystream and additions")
    peers = [one.peer * 1e3 for one in maskings if one.peer is not None]
    if len(peers) == len(degrees):
        left.plot(degrees, peers, "s-", color=THEIRS, label="Flower SecAgg+")
    left.set(xlabel="neighbours", ylabel="CPU ms of one member", title="A member masks a million parameters")
    places = np.arange(len(rounds))
    right.bar(places - 0.2, [run.ours.total for run in rounds], 0.4, color=OURS, label="fedseal")
    if all(run.peer is not None for run in rounds):
        totals = [run.peer["total"] if run.peer else 0 for run in rounds]
        right.bar(places + 0.2, totals, 0.4, color=THEIRS, label="Flower SecAgg+")
    right.plot(places - 0.2, [run.floor for run in rounds], "k_", markersize=14, label="floor")
    labels = [f"{run.case.members}\n{run.case.neighbours or 'all'}\n{run.case.dropped}" for run in rounds]
    right.set_xticks(places, labels)
    right.set(xlabel="members, neighbours, dropped", ylabel="CPU s of all parties")
    right.set(title="A whole round, a million parameters")
    for axes in (left, right):
        axes.set_yscale("log")
        axes.legend(loc="upper left")
        axes.set_ylim(top=axes.get_ylim()[1] * 8)  # room for the legend
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)


def json_rows(rates: Rates, maskings: list[Masking], rounds: list[WholeRound]) -> list[Row]:
    """The rows for JSON=FILE."""
    rows = [
        Row(case=name, metric="rate", unit="GB/s", ours=rate / 1e9, peer=None, floor=None)
        for name, rate in (
            ("AES-128-GCM keystream", rates.gcm),
            ("AES-256-GCM keystream", rates.gcm_256),
            ("AES-128-CTR keystream", rates.ctr),
            ("ChaCha20 keystream", rates.chacha),
            ("32-bit addition", rates.add),
        )
    ]
    for one in maskings:
        case = f"member, {one.neighbours} neighbours, 1M"
        rows.append(Row(case=case, metric="masking", unit="ms", ours=one.ours * 1e3, peer=None, floor=one.floor * 1e3))
        whole = (one.ours + one.encode) * 1e3
        peer = None if one.peer is None else one.peer * 1e3
        rows.append(Row(case=case, metric="encoding and masking", unit="ms", ours=whole, peer=peer, floor=None))
    for run in rounds:
        case, costs = run.case.name, run.ours
        peers = run.peer or {}
        total, server = peers.get("total"), peers.get("server")
        rows += [
            Row(case=case, metric="round, all parties", unit="s", ours=costs.total, peer=total, floor=run.floor),
            Row(case=case, metric="coordinator", unit="s", ours=costs.server, peer=server, floor=run.server_floor),
            Row(case=case, metric="plain coordinator", unit="s", ours=costs.plain_server, peer=None, floor=None),
            Row(case=case, metric="vector", unit="bytes", ours=costs.vector, peer=None, floor=None),
            Row(
                case=case,
                metric="up beside vector",
                unit="bytes",
                ours=costs.up / run.case.members,
                peer=None,
                floor=None,
            ),
            Row(case=case, metric="down", unit="bytes", ours=costs.down / run.case.members, peer=None, floor=None),
        ]
    return rows


def broken_promises(maskings: list[Masking], rounds: list[WholeRound]) -> list[str]:
    """Sentences about what does not hold."""
    out = [
        f"masking with {m.neighbours} neighbours: {m.ours / m.floor:.2f} of the floor, promised 1.5"
        for m in maskings
        if m.ours > 1.5 * m.floor
    ]
    out += [
        f"masking with {m.neighbours} neighbours: {m.peer / (m.ours + m.encode):.1f}x the peer, promised 8"
        for m in maskings
        if m.peer is not None and m.peer < 8 * (m.ours + m.encode)
    ]
    for run in rounds:
        promise = ROUND_PROMISES.get(run.case.members)
        if promise and run.peer is not None and run.peer["total"] < promise * run.ours.total:
            out.append(f"{run.case.name}: {run.peer['total'] / run.ours.total:.1f}x the peer, promised {promise:.0f}")
        limit = 2 * run.ours.plain_server if not run.case.dropped else 2 * (run.server_floor + run.ours.plain_server)
        if run.ours.server > limit:
            out.append(f"{run.case.name}: the coordinator needs {run.ours.server:.3f} s, promised {limit:.3f}")
    return out


def main() -> int:
    """Measure everything; 0 when the promises hold."""
    console = Console(width=150)
    rates = measure_rates()
    maskings, rounds = [], []
    for neighbours in NEIGHBOURS:
        with console.status(f"masking with {neighbours} neighbours"):
            maskings.append(measure_masking(neighbours, rates))
    peer_rows = peer_rounds()
    for case in ROUNDS:
        with console.status(case.name):
            rounds.append(measure_round(case, rates, peer_rows))
    console.print(*tables(rates, maskings, rounds))
    if peer_rows:
        then = statistics.median(row.yardstick for row in peer_rows)
        console.print(
            f"yardstick (a fixed hash): {yardstick():.0f} ms now, {then:.0f} ms when the peer's rounds were measured"
        )
    with console.status("memory"):
        memory = measure_memory()
    console.print(memory_table(memory))
    plot(maskings, rounds, OUT / "masking.png")
    console.print(f"plot: {OUT / 'masking.png'}")
    if os.environ.get("JSON"):
        rows = json_rows(rates, maskings, rounds) + memory_rows(memory)
        Path(os.environ["JSON"]).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    broken = broken_promises(maskings, rounds) + broken_memory(memory)
    for sentence in broken:
        console.print(f"BROKEN: {sentence}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
