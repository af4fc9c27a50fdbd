"""Growth: what one masked round costs a member and the coordinator as the cohort grows from ten to ten thousand.

    make bench-scale                 prints tables and writes benchmarks/out/scale.png
    make bench-scale JSON=FILE       also writes rows {case, metric, unit, ours, peer, floor}
    SIZES=10,100,1000 make bench-scale   other cohorts; 10 000 members take a few minutes

Whole rounds of the real state machines with a vector of one word, so that what is measured is keys, shares,
signatures and messages; a tenth of the members leaves before its masked vector. Up to a hundred members all are
real and five rounds are measured; in larger cohorts 24 real members are, drawn at random, and the others are
stand-ins (see `_stand_ins`). Figures are medians over real members and rounds, in CPU seconds. The cost of the
vector is not measured but extrapolated from one mask pass and one addition over a million 32-bit words: k + 1
passes for a member; for the coordinator one addition and one pass for each survivor, and as many passes as it
has surviving neighbours for each member that left.

What to expect: up to 128 members the graph is complete, so that a member does O(n) and the coordinator O(n^2).
Above, a member has O(log n) neighbours, which is what its keys, shares and masks cost; dealing a share to each
neighbour is one more factor of log n with a small constant. Not logarithmic: each member reads the roster's
digests and nonces, about a hundred bytes and four microseconds a member, because it trusts nobody to choose its
neighbours (docs/decisions/0017-members-read-the-whole-roster.md); and the coordinator copies the nonces, which it
encodes once, into the message for each member.
"""

import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from _cohort import Cohort, MemberCosts, ServerCosts
from _rows import Row
from _stand_ins import prepare
from rich.console import Console
from rich.table import Table

mpl.use("Agg")  # no display needed; must come before pyplot
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from fedseal_crypto.encoding import Layout, RingVector, VectorSpec
from fedseal_crypto.masking import COMPLETE_GRAPH_LIMIT
from fedseal_crypto.masking._keystream import MASK_KEY_SIZE, Mask, apply_masks
from fedseal_crypto.secret import SecretBytes

OUT = Path(__file__).parent / "out"
SIZES = "10,30,100,300,1000,3000,10000"
SAMPLE = 24
ALL_REAL = 100
ROUNDS = 5
WORDS = 1_000_000
BLUE, ORANGE, GREEN, GREY = "#0b6fa4", "#d1660f", "#3b8132", "#767676"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """CPU seconds for one word, 32 bits wide."""

    mask: float
    add: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """One cohort.

    Attributes:
        real: Members that were measured in each round.
        neighbours: k, or n - 1.
        member: Median over real members that stayed.
        server: Of the round with the median total.
        member_word: Seconds that one more 32-bit word costs a member; extrapolated.
        server_word: And the coordinator.
    """

    members: int
    real: int
    neighbours: int
    threshold: int
    member: MemberCosts
    server: ServerCosts
    member_word: float
    server_word: float

    @property
    def sparse(self) -> bool:
        """Whether its graph is."""
        return self.members > COMPLETE_GRAPH_LIMIT


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something that grows.

    Attributes:
        of: Gives it for a cohort, in `unit`.
        expected: Powers of log n and of n.
    """

    name: str
    unit: str
    of: Callable[[Growth], float]
    expected: str


SHAPES: dict[str, Callable[[Growth], float]] = {
    "log n": lambda g: math.log(g.members),
    "log² n": lambda g: math.log(g.members) ** 2,
    "n log n": lambda g: g.members * math.log(g.members),
    "n log² n": lambda g: g.members * math.log(g.members) ** 2,
}

KEYS = Quantity("member: keys, shares, messages", "ms", lambda g: g.member.neighbours * 1e3, "log n to log² n")
MASKS = Quantity("member: masks, 1 M parameters, extrapolated", "ms", lambda g: g.member_word * WORDS * 1e3, "log n")
ROSTER = Quantity("member: reading the roster", "ms", lambda g: g.member.roster * 1e3, "n")
UP = Quantity("member: bytes up, beside the vector", "bytes", lambda g: g.member.up, "log n")
DOWN = Quantity("member: bytes down", "bytes", lambda g: g.member.down, "n")
TAKING = Quantity("coordinator: taking messages", "s", lambda g: g.server.taking, "n log n")
CLOSING = Quantity("coordinator: closing steps", "s", lambda g: g.server.closing, "n log n to n log² n")
TELLING = Quantity(
    "coordinator: writing instructions", "s", lambda g: g.server.telling, "n log n, n² in the bytes copied"
)
UNMASKING = Quantity(
    "coordinator: masks, 1 M parameters, extrapolated", "s", lambda g: g.server_word * WORDS, "n log n"
)
MEMBER = Quantity(
    "member: all but the vector", "ms", lambda g: (g.member.neighbours + g.member.roster) * 1e3, "log² n + n"
)
COORDINATOR = Quantity("coordinator: all but the vector", "s", lambda g: g.server.total, "n log n to n log² n")
QUANTITIES = (KEYS, MASKS, ROSTER, MEMBER, UP, DOWN, TAKING, CLOSING, TELLING, UNMASKING, COORDINATOR)


def measure_rates() -> Rates:
    """One mask pass and one addition over a million words."""
    layout = Layout.plan([VectorSpec(name="v", length=WORDS, bound=8, resolution=2**-18)], cohort=10)
    vector, other = RingVector.zeros(layout), RingVector.zeros(layout)
    masks = [Mask(SecretBytes(os.urandom(MASK_KEY_SIZE)), add=True) for _ in range(20)]
    return Rates(
        mask=median_seconds(lambda: apply_masks(vector, masks)) / len(masks) / WORDS,
        add=median_seconds(lambda: vector.add_in_place(other)) / WORDS,
    )


def median_seconds(call: Callable[[], object]) -> float:
    """Of eleven calls, after one that is not counted."""
    call()
    seconds = []
    for _ in range(11):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def measure(n: int, rates: Rates) -> Growth:
    """One cohort."""
    members: list[MemberCosts] = []
    servers: list[ServerCosts] = []
    for seed in range(ROUNDS if n <= ALL_REAL else 1):
        scene = prepare(n, sample=n if n <= ALL_REAL else SAMPLE, seed=seed)
        cohort = Cohort(scene)
        cohort.play()
        members += [costs for name, costs in cohort.costs.items() if name not in scene.leaving]
        servers.append(cohort.server_costs)
    k = scene.parameters.neighbours or n - 1
    gone = len(scene.leaving)
    stay = n - gone
    recovered = gone * k * stay / (n - 1)
    return Growth(
        members=n,
        real=len(scene.sample),
        neighbours=k,
        threshold=scene.parameters.threshold,
        member=MemberCosts(
            roster=statistics.median(one.roster for one in members),
            neighbours=statistics.median(one.neighbours for one in members),
            up=round(statistics.median(one.up for one in members)),
            down=round(statistics.median(one.down for one in members)),
        ),
        server=sorted(servers, key=lambda one: one.total)[len(servers) // 2],
        member_word=(k + 1) * rates.mask,
        server_word=stay * (rates.add + rates.mask) + recovered * rates.mask,
    )


def exponent(rows: Sequence[Growth], of: Callable[[Growth], float]) -> float:
    """x of the n^x that fits best."""
    sizes = [math.log(row.members) for row in rows]
    return float(np.polyfit(sizes, [math.log(of(row)) for row in rows], 1)[0])


def table_of_costs(rows: Sequence[Growth]) -> Table:
    """One row a cohort."""
    caption = (
        "roster: reading all digests and nonces; vector: 1 M 32-bit words, extrapolated from one mask pass; "
        f"above {ALL_REAL} members figures of {SAMPLE} real ones, the others are stand-ins"
    )
    out = Table(title="One round, CPU: a member and the coordinator", caption=caption)
    headings = ("members", "real", "k", "t", "keys ms", "roster ms", "vector ms", "up KB", "down KB")
    for heading in (*headings, "taking s", "closing s", "telling s", "vector s"):
        out.add_column(heading, justify="right")
    for row in rows:
        member, server = row.member, row.server
        out.add_row(
            f"{row.members}",
            f"{row.real}",
            f"{row.neighbours}",
            f"{row.threshold}",
            f"{member.neighbours * 1e3:.1f}",
            f"{member.roster * 1e3:.1f}",
            f"{row.member_word * WORDS * 1e3:.1f}",
            f"{member.up / 1e3:.1f}",
            f"{member.down / 1e3:.1f}",
            f"{server.taking:.3f}",
            f"{server.closing:.3f}",
            f"{server.telling:.3f}",
            f"{row.server_word * WORDS:.2f}",
        )
    return out


def table_of_exponents(rows: Sequence[Growth]) -> Table:
    """Fits over the cohorts with a sparse graph."""
    sizes = [row.members for row in rows]
    fits = (f"{name} is n^{exponent(rows, shape):.2f}" for name, shape in SHAPES.items())
    out = Table(
        title=f"Fitted to {sizes[0]} - {sizes[-1]} members (sparse graph): cost = constant · n^x",
        caption=f"over this range {', '.join(fits)}",
    )
    out.add_column("what")
    out.add_column("x", justify="right")
    out.add_column("expected")
    for quantity in QUANTITIES:
        out.add_row(quantity.name, f"{exponent(rows, quantity.of):.2f}", quantity.expected)
    return out


def plot(rows: Sequence[Growth], path: Path) -> None:
    """Three panels with both axes logarithmic: a member's time, the coordinator's, a member's bytes."""
    figure, (member, server, traffic) = plt.subplots(1, 3, figsize=(15, 5), layout="constrained")
    draw(member, rows, [(KEYS, BLUE, "o-"), (MASKS, ORANGE, "o--"), (ROSTER, GREY, "o-")])
    guide(member, rows, KEYS, "log n")
    member.set(title="A member", ylabel="CPU, ms")
    lines = [(TAKING, BLUE, "o-"), (CLOSING, GREEN, "o-"), (TELLING, GREY, "o-"), (UNMASKING, ORANGE, "o--")]
    draw(server, rows, lines)
    guide(server, rows, UNMASKING, "n log n")
    server.set(title="The coordinator", ylabel="CPU, s")
    draw(traffic, rows, [(UP, BLUE, "o-"), (DOWN, GREY, "o-")])
    guide(traffic, rows, UP, "log n")
    traffic.set(title="A member's messages, without the vector", ylabel="bytes")
    for axes in (member, server, traffic):
        dress(axes)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)


def dress(axes: Axes) -> None:
    """What all panels share: where the graph changes, and room for the legend above the lines."""
    axes.axvline(COMPLETE_GRAPH_LIMIT, color=GREY, linewidth=0.8, linestyle=":")
    for factor, side, text in ((0.92, "right", "complete graph"), (1.1, "left", "sparse graph")):
        label = axes.text(COMPLETE_GRAPH_LIMIT * factor, 0.02, text, fontsize=8, color=GREY, ha=side)
        label.set_transform(axes.get_xaxis_transform())
    axes.set_xlabel("members (n)")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, facecolor="white", edgecolor="none", framealpha=1, loc="upper left")
    low, high = axes.get_ylim()
    axes.set_ylim(low / 2, high * 12)


def draw(axes: Axes, rows: Sequence[Growth], lines: Sequence[tuple[Quantity, str, str]]) -> None:
    """Some quantities; the roster is read on a sparse graph only."""
    for quantity, colour, style in lines:
        shown = [row for row in rows if row.sparse or quantity is not ROSTER]
        label = quantity.name.partition(": ")[2]
        axes.loglog(
            [row.members for row in shown], [quantity.of(row) for row in shown], style, color=colour, label=label
        )


def guide(axes: Axes, rows: Sequence[Growth], quantity: Quantity, shape: str) -> None:
    """A thin line of the expected shape through the first sparse cohort."""
    sparse = [row for row in rows if row.sparse]
    scale = quantity.of(sparse[0]) / SHAPES[shape](sparse[0])
    heights = [scale * SHAPES[shape](row) for row in sparse]
    axes.loglog([row.members for row in sparse], heights, ":", color="black", linewidth=1.2, label=f"∝ {shape}")


def json_rows(rows: Sequence[Growth]) -> list[Row]:
    """The rows for JSON=FILE."""
    out = []
    for row in rows:
        case = f"{row.members} members, {row.neighbours} neighbours, {row.real} measured"
        out += [
            Row(case=case, metric=quantity.name, unit=quantity.unit, ours=quantity.of(row), peer=None, floor=None)
            for quantity in QUANTITIES
        ]
        words = (("member", row.member_word), ("coordinator", row.server_word))
        out += [
            Row(
                case=case,
                metric=f"{who}: one parameter, extrapolated",
                unit="ns",
                ours=cost * 1e9,
                peer=None,
                floor=None,
            )
            for who, cost in words
        ]
    return out


def main() -> int:
    """Measure every size."""
    console = Console(width=140)
    rates = measure_rates()
    rows = []
    for size in os.environ.get("SIZES", SIZES).split(","):
        with console.status(f"{size} members"):
            rows.append(measure(int(size), rates))
    console.print(table_of_costs(rows))
    sparse = [row for row in rows if row.sparse]
    if len(sparse) > 1:
        console.print(table_of_exponents(sparse))
        plot(rows, OUT / "scale.png")
        console.print(f"plot: {OUT / 'scale.png'}")
    if os.environ.get("JSON"):
        Path(os.environ["JSON"]).write_text(json.dumps(json_rows(rows), indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
