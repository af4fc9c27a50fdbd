"""Homomorphic aggregation: upload, client and round against NVIDIA FLARE's, and against plain TenSEAL.

    make bench-homomorphic            prints tables and writes benchmarks/out/homomorphic.png
    make bench-homomorphic JSON=FILE  also writes rows {case, metric, unit, ours, peer, floor}

A million float32 values. ``peer`` is FLARE 2.9.0 with its own filters, aggregator and serialisation, installed into an
environment of its own on first use (PEER=0 leaves it out); its rounds are played in turn with ours. ``floor`` is the
upload as float32. Figures are CPU seconds of one thread, medians of three runs (plain TenSEAL: of ten members in one).

Promised: upload at most 2.2 times float32 for 10 members at 16 bits and 4.2 times for 100 (with room for masks, too);
encrypting and serialising at least 2.5 times less than FLARE, the whole round 4 times less; exact sums; a coordinator
whose memory does not grow with members. The script exits 1 if one does not hold.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import matplotlib as mpl
import numpy as np
import tenseal as ts
import tenseal.sealapi as seal
from rich.console import Console
from rich.table import Table

mpl.use("Agg")  # no display needed; must come before pyplot
from _custody_round import PartyCosts, custody_round
from _encrypted_round import VALUES, Case, Costs, coordinator_memory, our_round, scalar_costs, tenseal_round
from _peer_venv import Peer, PeerUnavailable
from matplotlib import pyplot as plt

from fedseal_crypto.homomorphic import parameters_for_sums
from fedseal_crypto.homomorphic._frames import write_chunk
from fedseal_crypto.homomorphic._tenseal import Library

OUT = Path(__file__).parent / "out"
PEER = Peer(name="nvflare", requirements=("nvflare==2.9.0", "tenseal==0.3.18"))
SCRIPT = Path(__file__).parent / "peers" / "nvflare_he.py"
PEER_SECONDS = 600
RUNS = 3
FLOAT32 = 4 * VALUES
ROUNDS = (Case(members=10), Case(members=10, layers=40))
SIZES = (Case(members=10, masked=True), Case(members=100), Case(members=100, masked=True))
UPLOAD_PROMISES = {10: 2.2, 100: 4.2}
JOB_CASE = Case(members=10, masked=True)
CLIENT_PROMISE, ROUND_PROMISE = 2.5, 4.0
OURS = ("encode", "encrypt")


class Row(TypedDict):
    """One row of the JSON file that every benchmark writes."""

    case: str
    metric: str
    unit: str
    ours: float
    peer: float | None
    floor: float | None


def middle(runs: list[Costs]) -> Costs:
    """The median run by total."""
    return sorted(runs, key=lambda one: one.total)[len(runs) // 2]


def play(case: Case, console: Console) -> tuple[Costs, dict[str, Any] | None]:
    """Our rounds and the peer's in turn; the median of each."""
    ours, peers = [], []
    for _ in range(RUNS):
        with console.status(case.name):
            ours.append(our_round(case))
            if os.environ.get("PEER") != "0":
                try:
                    PEER.install()
                    peers.append(PEER.run(SCRIPT, "--layers", str(case.layers), seconds=PEER_SECONDS))
                except PeerUnavailable as error:
                    print(f"no figures of the peer: {error}", file=sys.stderr)
    peers.sort(key=lambda one: one["total"])
    return middle(ours), peers[len(peers) // 2] if peers else None


def play_jobs() -> dict[str, PartyCosts]:
    """A round of a job under each of the two protections, the median of three by total."""
    played = {}
    for name, hybrid in (("homomorphic", False), ("hybrid", True)):
        runs = [custody_round(JOB_CASE, hybrid=hybrid) for _ in range(RUNS)]
        played[name] = sorted(runs, key=lambda one: one.total)[RUNS // 2]
    return played


def job_table(jobs: dict[str, PartyCosts]) -> Table:
    """Rounds as jobs play them: pads or masks, signatures, digests, both additions."""
    table = Table(
        title="A round of a job, 10 members, a million values, CPU s", caption="coordinator and custodian: all"
    )
    for heading in ("protection", "a member", "coordinator", "custodian", "round", "upload MB", "of float32"):
        table.add_column(heading, justify="left" if heading == "protection" else "right")
    for name, costs in jobs.items():
        seconds = (costs.member, costs.seconds["coordinator"], costs.seconds["custodian"], costs.total)
        up = (f"{costs.up / 1e6:.1f}", f"{costs.up / FLOAT32:.2f}")
        table.add_row(name, *(f"{one:.2f}" for one in seconds), *up)
    return table


def profile_encryption() -> dict[str, float]:
    """Median CPU microseconds of the parts of encrypting one ciphertext, and of SEAL's own share in them."""
    parameters = parameters_for_sums(10)
    library = Library.generate(parameters)
    values = np.arange(parameters.slots)
    numbers = values.tolist()
    vector = ts.bfv_vector(library.context, numbers)
    residues = library.residues(vector)
    settings = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
    settings.set_poly_modulus_degree(parameters.degree)
    sizes = [prime.bit_length() for prime in parameters.primes]
    settings.set_coeff_modulus(seal.CoeffModulus.Create(parameters.degree, sizes))
    settings.set_plain_modulus(parameters.plain_modulus)
    context = seal.SEALContext(settings, True, seal.SEC_LEVEL_TYPE.TC128)
    key = seal.PublicKey()
    seal.KeyGenerator(context).create_public_key(key)
    encryptor, encoder = seal.Encryptor(context, key), seal.BatchEncoder(context)
    plain, sealed = seal.Plaintext(), seal.Ciphertext()
    encoder.encode(numbers, plain)
    parts: dict[str, Callable[[], object]] = {
        "the whole, as encrypt_vector does it": lambda: write_chunk(library.encrypt(values), parameters),
        "SEAL: encrypt": lambda: encryptor.encrypt(plain, sealed),
        "SEAL: encode, with a list to C++": lambda: encoder.encode(numbers, plain),
        "numpy to a list": values.tolist,
        "TenSEAL: compress and write": vector.serialize,
        "ours: to residues and to the wire": lambda: write_chunk(residues, parameters),
        "ts.bfv_vector, for comparison": lambda: ts.bfv_vector(library.context, values),
    }
    return {name: median_of(call) * 1e6 for name, call in parts.items()}


def median_of(call: Callable[[], object]) -> float:
    """Median CPU seconds of 60 calls."""
    seconds = []
    for _ in range(60):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


Rounds = list[tuple[Case, Costs, dict[str, Any] | None]]


def round_table(rounds: Rounds, plain: Costs) -> Table:
    """Whole rounds: ours, the peer's, plain TenSEAL's."""
    table = Table(title="A round of 10 members, a million values, CPU s", caption="a member: from floats to bytes")
    for heading in ("case", "by", "a member", "an addition", "decrypt", "round", "upload MB", "of float32", "error"):
        table.add_column(heading, justify="left" if heading in {"case", "by"} else "right")

    def add(case: str, by: str, seconds: tuple[float, float, float, float], up: float, error: float) -> None:
        table.add_row(
            case, by, *(f"{one:.3f}" for one in seconds), f"{up / 1e6:.1f}", f"{up / FLOAT32:.2f}", f"{error:.1e}"
        )

    for case, ours, peer in rounds:
        times = (ours.median(*OURS), ours.median("add"), ours.median("decrypt", "decode"), ours.total)
        add(case.name, "fedseal", times, ours.up, ours.error)
        if peer:
            steps = peer["seconds"]
            theirs = (
                peer["client"],
                steps["server loads"] + steps["server adds"],
                steps["client loads"] + steps["decrypt"],
                peer["total"],
            )
            add(case.name, "FLARE", theirs, peer["up"], peer["error"])
    times = (plain.median("encrypt", "serialise"), plain.median("load", "add"), plain.median("decrypt"), plain.total)
    add(rounds[0][0].name, "TenSEAL CKKS", times, plain.up, plain.error)
    return table


def tables(
    rounds: Rounds, plain: Costs, sizes: list[tuple[Case, Costs]], parts: dict[str, float], scalars: dict[str, float]
) -> list[Table]:
    """What is printed."""
    uploads = Table(title="Upload of a member at 16 bits")
    for heading in ("case", "MB", "of float32", "promised"):
        uploads.add_column(heading, justify="left" if heading == "case" else "right")
    for case, costs in [*((case, ours) for case, ours, _ in rounds), *sizes]:
        uploads.add_row(
            case.name, f"{costs.up / 1e6:.2f}", f"{costs.up / FLOAT32:.2f}", f"{UPLOAD_PROMISES[case.members]}"
        )
    profile = Table(title="Encrypting one ciphertext of 4096 slots, CPU microseconds")
    profile.add_column("part")
    profile.add_column("us", justify="right")
    for name, microseconds in parts.items():
        profile.add_row(name, f"{microseconds:.0f}")
    numbers = Table(title="Numbers about encrypted vectors of a million values, CPU s")
    numbers.add_column("number")
    numbers.add_column("s", justify="right")
    for name, seconds in scalars.items():
        numbers.add_row(name, f"{seconds:.2f}")
    return [round_table(rounds, plain), uploads, profile, numbers]


def plot(rounds: Rounds, plain: Costs, sizes: list[tuple[Case, Costs]], path: Path) -> None:
    """CPU of a member and a round, and uploads."""
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained", width_ratios=(1, 1, 1.5))
    bars: list[tuple[str, float, float, float, str]] = []
    for case, ours, peer in rounds:
        label = "1 layer" if case.layers == 1 else f"{case.layers} layers"
        bars.append((f"fedseal\n{label}", ours.median(*OURS), ours.total, ours.up, "C0"))
        if peer:
            bars.append((f"FLARE\n{label}", peer["client"], peer["total"], peer["up"], "C1"))
    bars.append(("TenSEAL\nCKKS", plain.median("encrypt", "serialise"), plain.total, plain.up, "C2"))
    names, colours = [one[0] for one in bars], [one[4] for one in bars]
    for axis, column, title in zip(
        axes, (1, 2), ("a member, CPU s", "a round of 10, all parties, CPU s"), strict=False
    ):
        axis.bar(names, [float(one[column]) for one in bars], color=colours)
        axis.set_title(title)
        axis.tick_params(axis="x", labelsize=7)
    uploads = [(name, up / FLOAT32, colour) for name, _, _, up, colour in bars]
    for case, costs in sizes:
        uploads.append((f"fedseal\n{case.members}{', masks' if case.masked else ''}", costs.up / FLOAT32, "C0"))
    axes[2].bar([one[0] for one in uploads], [one[1] for one in uploads], color=[one[2] for one in uploads])
    axes[2].set_title("upload, times float32")
    axes[2].tick_params(axis="x", labelsize=7)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)


def json_rows(
    rounds: Rounds, plain: Costs, sizes: list[tuple[Case, Costs]], memory: dict[int, int], scalars: dict[str, float]
) -> list[Row]:
    """The rows for JSON=FILE."""
    rows = []
    for case, ours, peer in rounds:
        theirs = peer or {}
        for metric, unit, mine, other in (
            ("member", "s", ours.median(*OURS), theirs.get("client")),
            ("round, all parties", "s", ours.total, theirs.get("total")),
            ("error of the sum", "1", ours.error, theirs.get("error")),
        ):
            rows.append(Row(case=case.name, metric=metric, unit=unit, ours=mine, peer=other, floor=None))
        rows.append(
            Row(case=case.name, metric="upload", unit="bytes", ours=ours.up, peer=theirs.get("up"), floor=FLOAT32)
        )
    for case, costs in sizes:
        rows.append(Row(case=case.name, metric="upload", unit="bytes", ours=costs.up, peer=None, floor=FLOAT32))
    first = rounds[0][1]
    member = plain.median("encrypt", "serialise")
    for metric, mine, other in (("member", first.median(*OURS), member), ("round", first.total, plain.total)):
        rows.append(Row(case="peer: TenSEAL CKKS", metric=metric, unit="s", ours=mine, peer=other, floor=None))
    for members, peak in memory.items():
        rows.append(
            Row(case=f"{members} members", metric="coordinator memory", unit="bytes", ours=peak, peer=None, floor=None)
        )
    for name, seconds in scalars.items():
        rows.append(Row(case=name, metric="scalar", unit="s", ours=seconds, peer=None, floor=None))
    return rows


def job_rows(jobs: dict[str, PartyCosts]) -> list[Row]:
    """The rows of `job_table` for JSON=FILE."""
    rows = []
    for name, costs in jobs.items():
        for party, seconds in (("member", costs.member), ("round, all parties", costs.total)):
            rows.append(Row(case=f"job, {name}", metric=party, unit="s", ours=seconds, peer=None, floor=None))
        rows.append(Row(case=f"job, {name}", metric="upload", unit="bytes", ours=costs.up, peer=None, floor=FLOAT32))
    return rows


def broken_promises(rounds: Rounds, sizes: list[tuple[Case, Costs]], memory: dict[int, int]) -> list[str]:
    """Sentences about what does not hold."""
    out = []
    for case, costs in [*((case, ours) for case, ours, _ in rounds), *sizes]:
        if costs.up > UPLOAD_PROMISES[case.members] * FLOAT32:
            out.append(f"{case.name}: upload {costs.up / FLOAT32:.2f} times float32")
        if costs.error:
            out.append(f"{case.name}: the sum is off by {costs.error}")
    for case, ours, peer in rounds:
        if peer is None:
            continue
        client, whole = peer["client"] / ours.median(*OURS), peer["total"] / ours.total
        if client < CLIENT_PROMISE:
            out.append(f"{case.name}: a member needs {client:.2f} times less than FLARE's, promised {CLIENT_PROMISE}")
        if whole < ROUND_PROMISE:
            out.append(f"{case.name}: a round needs {whole:.2f} times less than FLARE's, promised {ROUND_PROMISE}")
    few, many = memory[min(memory)], memory[max(memory)]
    if many > 1.05 * few:
        out.append(f"the coordinator's memory grows from {few / 1e6:.1f} to {many / 1e6:.1f} MB")
    return out


def main() -> int:
    """Measure everything; 0 when the promises hold."""
    console = Console(width=130)
    rounds: Rounds = [(case, *play(case, console)) for case in ROUNDS]
    with console.status("plain TenSEAL"):
        plain = tenseal_round(10)
    with console.status("sizes, memory, scalars"):
        sizes = [(case, our_round(case, contributions=3)) for case in SIZES]
        memory = {members: coordinator_memory(members) for members in (2, 10, 100)}
        parts, scalars = profile_encryption(), scalar_costs(RUNS)
    with console.status("rounds of jobs"):
        jobs = play_jobs()
    console.print(*tables(rounds, plain, sizes, parts, scalars), job_table(jobs))
    peaks = ", ".join(f"{members} members {peak / 1e6:.1f} MB" for members, peak in memory.items())
    console.print(f"the coordinator's sum at its peak: {peaks}")
    for case, ours, peer in rounds:
        if peer:
            console.print(
                f"{case.name}: a member {peer['client'] / ours.median(*OURS):.1f}x, a round "
                f"{peer['total'] / ours.total:.1f}x less CPU than FLARE {peer['versions']['nvflare']}"
            )
    plot(rounds, plain, sizes, OUT / "homomorphic.png")
    console.print(f"plot: {OUT / 'homomorphic.png'}")
    if os.environ.get("JSON"):
        rows = json_rows(rounds, plain, sizes, memory, scalars) + job_rows(jobs)
        Path(os.environ["JSON"]).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    broken = broken_promises(rounds, sizes, memory)
    for sentence in broken:
        console.print(f"BROKEN: {sentence}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
