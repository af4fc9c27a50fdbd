"""What can go wrong in one simulated run, drawn from its seed.

A schedule says how bad the network is, where and how often programs die, who is gone for good, and how many members
and rounds there are. `Sabotage` breaks one rule of the shells around the protocol on purpose: a simulation that does
not notice is worth nothing.
"""

import random
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

COORDINATOR = "coordinator"
SPARSE_MEMBERS = 50
STEPS = ("advertise", "reveal", "share", "mask", "confirm", "unmask")
NODE_PLACES = ("before storing", "before sending", "after sending")
RECEIVE_PLACES = ("before storing", "after storing")
CLOSE_PLACES = ("before storing", "before closing", "after closing")


class CrashSite(NamedTuple):
    """A place in a program where it may die."""

    party: str
    activity: str
    place: str


def crash_sites(*, sparse: bool) -> tuple[CrashSite, ...]:
    """All places; step reveal exists on a sparse graph only."""
    steps = [step for step in STEPS if sparse or step != "reveal"]
    return (
        *(CrashSite("node", step, place) for step in steps for place in NODE_PLACES),
        *(CrashSite(COORDINATOR, f"receive {step}", place) for step in steps for place in RECEIVE_PLACES),
        *(CrashSite(COORDINATOR, f"close {step}", place) for step in steps for place in CLOSE_PLACES),
    )


class Sabotage(StrEnum):
    """A rule of the shells that is broken on purpose."""

    CLOSE_BEFORE_STORING = "the coordinator announces a closed step before it has stored that"
    LOSE_A_MESSAGE = "a restarted coordinator misses the last message that it had stored"
    GIVE_UP = "the coordinator begins no new attempt after one has failed"
    REUSE_ENTROPY = "a restarted node draws the same random bytes again"
    ENTER_AGAIN = "a restarted node enters the attempt that it was in before"
    IGNORE_OPEN_ATTEMPTS = "a node contributes again although an older attempt may still be opened"
    RELEASE_BEFORE_STORING = "a node reveals shares before it has stored that"
    DECLARE_ALL = "a node declares also those attempts given up for which it has revealed shares"
    COUNT_TWICE = "the coordinator adds a vector that arrives twice once more"
    REVEAL_BOTH = "a node reveals both kinds of share"
    IGNORE_HISTORY = "a node confirms survivors whatever earlier sums it took part in"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One run's trouble. Times are virtual seconds.

    Attributes:
        seed: What it was drawn from.
        members: n.
        sparse: Whether the graph is sparse; then n is 50 and the limit for complete graphs is lowered.
        rounds: How many rounds are to be completed, one after the other.
        same_broadcast: Whether all rounds have the same broadcast, so that the rule on differences applies.
        loss: Probability that a frame is lost.
        duplication: Probability that it is doubled.
        latency: Mean delay.
        straggling: Probability that it is delayed beyond deadlines.
        crash_rate: Probability that a program dies at a crash site.
        target: A site where a program certainly dies.
        target_pass: At which pass of the site; 0 for every pass.
        kills: How many hosts are killed at random times.
        downtime: Mean time until a restart.
        gone: Hosts that stay down once they are.
        shrinking: Probability that a retry leaves silent members out of the roster.
        step_seconds: How long the coordinator waits for a step.
        chaos_seconds: When the trouble ends.
        calm_seconds: How long the rest of the run may take.
        sabotage: The broken rule, if any.
    """

    seed: int
    members: int
    sparse: bool
    rounds: int
    same_broadcast: bool
    loss: float
    duplication: float
    latency: float
    straggling: float
    crash_rate: float
    target: CrashSite
    target_pass: int
    kills: int
    downtime: float
    gone: frozenset[str]
    shrinking: float
    step_seconds: float = 4.0
    chaos_seconds: float = 60.0
    calm_seconds: float = 150.0
    sabotage: Sabotage | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The nodes, sorted."""
        return node_names(self.members)


def node_names(members: int) -> tuple[str, ...]:
    """Sorted names of that many nodes."""
    return tuple(f"node-{index:02}" for index in range(members))


def seeded(*parts: object) -> random.Random:
    """A generator that depends on these alone; the same in every run, as a replay must be."""
    return random.Random("/".join(map(str, parts)))  # noqa: S311  # nothing here is secret


def draw_schedule(seed: int, *, sparse: bool = False, sabotage: Sabotage | None = None) -> Schedule:
    """The schedule of a seed."""
    chance = seeded(seed, "schedule")
    members = SPARSE_MEMBERS if sparse else chance.choice((3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 7, 8, 10))
    rounds = 1 if sparse else chance.choice((1, 1, 2, 2, 3))
    rough = chance.random() ** 2  # most schedules are mild enough for rounds to get far
    # Of many members a few die in any case; the same rate would let no round get anywhere.
    rate = rough * chance.choice((0.0, 0.01, 0.03)) * 5 / members
    leaving = chance.choice((0, 0, 1)) if members > 3 else 0
    schedule = Schedule(
        seed=seed,
        members=members,
        sparse=sparse,
        rounds=rounds,
        same_broadcast=chance.random() < 0.5,
        loss=rough * chance.uniform(0, 0.4),
        duplication=chance.choice((0.0, 0.1, 0.5)),
        latency=chance.choice((0.02, 0.1, 0.5)),
        straggling=rough * chance.uniform(0, 0.3),
        crash_rate=rate,
        target=chance.choice(crash_sites(sparse=sparse)),
        target_pass=chance.randint(1, 3),
        kills=chance.choice((0, 0, 1, 3)),
        downtime=chance.choice((0.2, 2.0, 8.0)),
        gone=frozenset(chance.sample(node_names(members), leaving)),
        shrinking=chance.choice((0.0, 0.3)),
        sabotage=sabotage,
    )
    if sabotage is Sabotage.RELEASE_BEFORE_STORING:
        # It shows only if the attempt is lost although enough members have revealed shares and crashed then.
        fatal = CrashSite("node", "unmask", "after sending")
        return replace(schedule, target=fatal, target_pass=0, loss=0.4)
    return schedule
