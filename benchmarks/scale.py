"""Growth: what one masked round costs a member and the coordinator as the cohort grows.

    make bench-scale                    prints a table and writes benchmarks/out/scale.png
    make bench-scale JSON=FILE          also writes rows {case, metric, unit, ours, peer, floor}
    SIZES=10,100,1000,10000 make …      other cohorts; 10 000 members take hours in one process

Whole rounds with real state machines and real byte forms, and a vector of one word, so that what is measured is keys,
shares, signatures and messages. The cost of masks is extrapolated from the rate of one mask pass, measured here, to
a million 32-bit words: (neighbours + 1) passes for a member; one addition and one pass for each survivor, and
neighbours passes for each member that left, for the coordinator (a tenth leaves here after sharing).

What to expect: the complete graph up to 128 members costs a member O(n) and the coordinator O(n^2); the sparse graph
above it O(log n) keys, shares and masks for a member, and O(n log n) for the coordinator. Not logarithmic is that
each member hashes the roster's digests and all nonces, 98 bytes and a few microseconds a member.
"""

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import matplotlib as mpl
from rich.console import Console
from rich.table import Table

mpl.use("Agg")  # no display needed; must come before pyplot
from matplotlib import pyplot as plt

from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.encoding import Layout, RingVector, VectorSpec
from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.masking import (
    ClientId,
    ClientLimits,
    MaskedInput,
    MaskingClient,
    MaskingServer,
    RoundParameters,
    ServerMessage,
    Step,
    choose_parameters,
    decode_message,
)
from fedseal_crypto.masking._keystream import Mask, apply_masks
from fedseal_crypto.secret import SecretBytes

OUT = Path(__file__).parent / "out"
SIZES = "10,32,100,316,1000"
FRACTION = 0.1  # corrupted, and dropping out
LEAVING = 10  # every tenth member sends no masked vector


class Row(TypedDict):
    """One row of the JSON file that every benchmark writes."""

    case: str
    metric: str
    unit: str
    ours: float
    peer: float | None
    floor: float | None


@dataclass(slots=True)
class Growth:
    """One cohort: seconds and bytes of a member, seconds of the coordinator, without the vector."""

    members: int
    neighbours: int
    threshold: int
    client: float = 0.0
    server: float = 0.0
    up: float = 0.0
    down: float = 0.0
    client_masks: float = 0.0
    server_masks: float = 0.0


class Scene:
    """All parties of one round."""

    def __init__(self, n: int) -> None:
        group = choose_parameters(n, corrupted_fraction=FRACTION, dropout_fraction=FRACTION)
        layout = Layout.plan([VectorSpec(name="v", length=1, bound=1, resolution=1)], cohort=n)
        parameters = RoundParameters(
            federation="bench",
            job_digest=sha256_hex(b"job"),
            stage="training",
            round=0,
            attempt=0,
            roster=tuple(ClientId(f"node-{i:05}") for i in range(n)),
            minimum_cohort=3,
            corrupted=group.corrupted,
            threshold=group.threshold,
            neighbours=group.neighbours,
            layout_digest=layout.digest,
            words=layout.shape.runs,
            broadcast_digest=sha256_hex(b"broadcast"),
            plan_digest=sha256_hex(b"plan"),
        )
        self.words = RingVector.zeros(layout)
        keys = {name: IdentityKey.generate(os.urandom) for name in parameters.roster}
        members = {name: key.public for name, key in keys.items()}
        limits = ClientLimits(corrupted_fraction=FRACTION, dropout_fraction=FRACTION)
        self.server = MaskingServer(parameters, members)
        self.clients = {name: MaskingClient(parameters, key, members, limits, os.urandom) for name, key in keys.items()}
        self.growth = Growth(n, group.neighbours or n - 1, group.threshold)
        self._last: tuple[ServerMessage | None, bytes] = (None, b"")

    def turn(self, name: ClientId) -> None:
        """One member's turn; a message for all is encoded once."""
        start = time.process_time()
        instruction, data = self.server.instruction_for(name), b""
        if instruction is not None:
            if self._last[0] is not instruction:
                self._last = (instruction, instruction.encode())
            data = self._last[1]
        asked = time.process_time()
        client = self.clients[name]
        if instruction is None:
            answer = client.advertise().encode()
            vector = None
        else:
            reply = client.answer(decode_message(data), self.words)  # type: ignore[arg-type]  # an instruction, as sent
            vector = reply if isinstance(reply, MaskedInput) else None
            answer = reply.header.encode() if isinstance(reply, MaskedInput) else reply.encode()
        answered = time.process_time()
        self.server.receive(vector or decode_message(answer))  # type: ignore[arg-type]  # a member's message, as sent
        received = time.process_time()
        self.growth.client += answered - asked
        self.growth.server += asked - start + received - answered
        self.growth.up += len(answer)
        self.growth.down += len(data)

    def play(self) -> Growth:
        """A whole round."""
        growth = self.growth
        while self.server.step is not Step.DONE:
            leaving = self.server.step is Step.MASK
            for place, name in enumerate(sorted(self.server.expected)):
                if not (leaving and place % LEAVING == 5):
                    self.turn(name)
            start = time.process_time()
            self.server.close_step()
            growth.server += time.process_time() - start
        n = growth.members
        growth.client, growth.up, growth.down = growth.client / n, growth.up / n, growth.down / n
        return growth


def pass_seconds() -> float:
    """One mask over a million 32-bit words."""
    layout = Layout.plan([VectorSpec(name="v", length=1_000_000, bound=8, resolution=2**-18)], cohort=10)
    vector = RingVector.zeros(layout)
    masks = [Mask(SecretBytes(os.urandom(32)), add=True) for _ in range(20)]
    apply_masks(vector, masks)
    start = time.process_time()
    apply_masks(vector, masks)
    return (time.process_time() - start) / len(masks)


def measure(n: int, one_pass: float) -> Growth:
    """One cohort, with the masks of a million parameters extrapolated."""
    growth = Scene(n).play()
    left = n // LEAVING
    growth.client_masks = (growth.neighbours + 1) * one_pass
    # An addition costs about a third of a pass; the order of magnitude is what matters here.
    growth.server_masks = ((n - left) * 1.3 + left * growth.neighbours) * one_pass
    return growth


def table(rows: list[Growth]) -> Table:
    """What is printed."""
    out = Table(title="One round, CPU", caption="masks: a million parameters, extrapolated from one pass")
    headings = ("members", "neighbours", "threshold", "member ms", "server s", "up KB", "down KB")
    for heading in (*headings, "member masks ms", "server masks s"):
        out.add_column(heading, justify="right")
    for row in rows:
        out.add_row(
            f"{row.members}",
            f"{row.neighbours}",
            f"{row.threshold}",
            f"{row.client * 1e3:.1f}",
            f"{row.server:.3f}",
            f"{row.up / 1e3:.1f}",
            f"{row.down / 1e3:.1f}",
            f"{row.client_masks * 1e3:.1f}",
            f"{row.server_masks:.2f}",
        )
    return out


def plot(rows: list[Growth], path: Path) -> None:
    """Costs and bytes against the number of members, both logarithmic."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    sizes = [row.members for row in rows]
    left.loglog(sizes, [row.client * 1e3 for row in rows], "o-", label="member: keys, shares, messages")
    left.loglog(sizes, [row.client_masks * 1e3 for row in rows], "o--", label="member: masks, 1M (extrapolated)")
    left.loglog(sizes, [row.server * 1e3 for row in rows], "s-", label="coordinator: keys, shares, messages")
    left.loglog(sizes, [row.server_masks * 1e3 for row in rows], "s--", label="coordinator: masks, 1M (extrapolated)")
    right.loglog(sizes, [row.up / 1e3 for row in rows], "o-", label="up, beside the vector")
    right.loglog(sizes, [row.down / 1e3 for row in rows], "s-", label="down")
    left.set(xlabel="members", ylabel="CPU ms", title="Cost of one round")
    right.set(xlabel="members", ylabel="KB of one member", title="Messages of one round")
    for axes in (left, right):
        axes.axvline(128, color="grey", linewidth=0.8, linestyle=":")
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)


def json_rows(rows: list[Growth]) -> list[Row]:
    """The rows for JSON=FILE."""
    out = []
    for row in rows:
        figures = (
            ("member", "ms", row.client * 1e3),
            ("coordinator", "ms", row.server * 1e3),
            ("up", "bytes", row.up),
            ("down", "bytes", row.down),
            ("member masks 1M, extrapolated", "ms", row.client_masks * 1e3),
            ("coordinator masks 1M, extrapolated", "ms", row.server_masks * 1e3),
        )
        case = f"{row.members} members, {row.neighbours} neighbours"
        out += [Row(case=case, metric=m, unit=u, ours=value, peer=None, floor=None) for m, u, value in figures]
    return out


def main() -> int:
    """Measure every size."""
    console = Console(width=130)
    one_pass = pass_seconds()
    rows = []
    for size in os.environ.get("SIZES", SIZES).split(","):
        with console.status(f"{size} members"):
            rows.append(measure(int(size), one_pass))
    console.print(table(rows))
    plot(rows, OUT / "scale.png")
    console.print(f"plot: {OUT / 'scale.png'}")
    if os.environ.get("JSON"):
        Path(os.environ["JSON"]).write_text(json.dumps(json_rows(rows), indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
