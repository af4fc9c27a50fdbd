"""Plays one schedule from its seed.

    python -m tests.simulation.play 4711            replays a seed and prints what happened
    python -m tests.simulation.play 4711 --sparse   the same seed on a sparse graph

What counts as failure is said in `judge`.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from fedseal_crypto.identity import PublicIdentity
from fedseal_crypto.masking import ClientId, RoundParameters, _keystream, _shares
from fedseal_crypto.masking._keys import seal
from tests.simulation.coordinator import CoordinatorStorage, coordinator_booter
from tests.simulation.judge import Failure, Judge, Key, SimulationFailed, may_contribute
from tests.simulation.node import NodeStorage, Surroundings, declared, identity_of, node_booter, schedule_limits
from tests.simulation.schedule import COORDINATOR, CrashSite, Sabotage, Schedule, draw_schedule
from tests.simulation.world import Host, World

CALM_ATTEMPTS = 4  # whole attempts without trouble after which a round that could be completed would have been


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a run that did not fail went.

    Attributes:
        completed: Rounds with a sum.
        blocked: Whether a round cannot be completed any more, for a reason that is no failure.
        attempts: Attempts begun in all rounds.
        crashes: Where programs died, and how often.
    """

    schedule: Schedule
    completed: int
    blocked: bool
    attempts: int
    crashes: Mapping[CrashSite, int]


@dataclass(slots=True)
class Run:
    """Everything of one run."""

    world: World
    judge: Judge
    coordinator: CoordinatorStorage
    nodes: dict[str, NodeStorage]

    @property
    def done(self) -> bool:
        """Whether every round has its sum."""
        return len(self.coordinator.completed) == self.world.schedule.rounds

    def play(self) -> Report:
        """Let it happen.

        Raises:
            SimulationFailed: Something happened that must not.
        """
        world, schedule = self.world, self.world.schedule
        with _watched(self.judge), _lowered_limit(enabled=schedule.sparse):
            for host in world.hosts.values():
                world.start(host)
            for victim in [*world.chance.choices(sorted(world.hosts), k=schedule.kills), *sorted(schedule.gone)]:
                moment = world.chance.uniform(0, schedule.chaos_seconds / 2)
                world.after(moment, lambda victim=victim: world.kill(world.hosts[victim]))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            world.run(schedule.chaos_seconds, finished=lambda: self.done)
            world.become_calm()
            enough = len(self.coordinator.attempts) + CALM_ATTEMPTS
            world.run(
                world.now + schedule.calm_seconds, finished=lambda: self.done or len(self.coordinator.attempts) > enough
            )
            _check_progress(self)
            # What is still on its way must do no harm either.
            world.run(world.now + 2 * schedule.step_seconds, finished=lambda: False)
        return Report(
            schedule=schedule,
            completed=len(self.coordinator.completed),
            blocked=not self.done,
            attempts=len(self.coordinator.attempts),
            crashes=world.crashes,
        )


def play(seed: int, *, sparse: bool = False, sabotage: Sabotage | None = None) -> Report:
    """Play the schedule of a seed.

    Raises:
        SimulationFailed: Something happened that must not; the notes say how to replay it.
    """
    run = prepare(draw_schedule(seed, sparse=sparse, sabotage=sabotage), tracing=False)
    try:
        return run.play()
    except Exception as error:
        flags = (" --sparse" if sparse else "") + (f" --sabotage {sabotage.name}" if sabotage else "")
        error.add_note(f"seed {seed}; replay it with: python -m tests.simulation.play {seed}{flags}")
        raise


def prepare(schedule: Schedule, *, tracing: bool) -> Run:
    """All parties of a schedule, before anything happens."""
    world, judge = World(schedule, tracing), Judge()
    members = {ClientId(name): identity_of(name).public for name in schedule.names}
    around = Surroundings(world, judge, members)
    run = Run(world, judge, CoordinatorStorage(), {name: NodeStorage() for name in schedule.names})
    for name, storage in run.nodes.items():
        world.hosts[name] = Host(name, node_booter(name, around, storage))
    world.hosts[COORDINATOR] = Host(COORDINATOR, coordinator_booter(around, run.coordinator))
    return run


def _check_progress(run: Run) -> None:
    """See `deadlock` in the docstring of `judge`."""
    if run.done:
        return
    world, number = run.world, len(run.coordinator.completed)
    opened = {key: attempt for key, attempt in run.judge.attempts.items() if key[0] == number}
    living = {name: run.nodes[name] for name in run.nodes if world.hosts[name].program is not None}
    silent = {key: declared(living.values(), key) for key in opened}
    able = [name for name, storage in living.items() if _able(storage, run, silent)]
    needed = _enough(world.schedule, [attempt.parameters for attempt in opened.values()])
    if len(able) >= needed:
        detail = f"round {number} is not done after {len(opened)} attempts; {len(able)} members may contribute"
        raise SimulationFailed(Failure.DEADLOCK, f"{detail}, {needed} are needed")


def _enough(schedule: Schedule, attempts: Sequence[RoundParameters]) -> int:
    """How many able members suffice for the full roster, whoever they are."""
    if schedule.sparse:
        # Each member needs a threshold of its own neighbours, which the graph promises for this share of dropouts.
        return schedule.members - int(schedule_limits(schedule).dropout_fraction * schedule.members)
    full = [parameters.smallest_sum for parameters in attempts if len(parameters.roster) == schedule.members]
    return max(full, default=schedule.members)


def _able(storage: NodeStorage, run: Run, silent: Mapping[Key, int]) -> bool:
    number = len(run.coordinator.completed)
    inputs = [key for key, stored in storage.attempts.items() if key[0] == number and stored.input_sent]
    opened = {key: attempt for key, attempt in run.judge.attempts.items() if key[0] == number}
    if any(key[0] == number for key in storage.refused_by_history):
        return False
    return may_contribute(opened, inputs=inputs, declared=silent, sparse=run.world.schedule.sparse)


@contextmanager
def _watched(judge: Judge) -> Iterator[None]:
    """Show the judge every keystream and every sealing that the real code makes."""
    make_stream = _keystream.keystream_encryptor

    def watched_stream(key: bytes, place: int) -> Any:
        judge.stream_used(key, place)
        return make_stream(key, place)

    def watched_seal(key: bytes, plain: bytes, associated: bytes) -> bytes:
        judge.sealed(key)
        return seal(key, plain, associated)

    with (
        patch.object(_keystream, "keystream_encryptor", watched_stream),
        patch.object(_shares, "seal", watched_seal),
        patch.object(PublicIdentity, "verify", _verifying_once()),
    ):
        yield


def _verifying_once() -> Callable[[PublicIdentity, bytes, bytes], None]:
    """Half of a run's time would go into members' checking the same signatures; each is really checked once."""
    verify, good = PublicIdentity.verify, set[tuple[bytes, bytes, bytes]]()

    def verified(identity: PublicIdentity, signature: bytes, message: bytes) -> None:
        known = (identity.raw, signature, message)
        if known not in good:
            verify(identity, signature, message)
            good.add(known)

    return verified


@contextmanager
def _lowered_limit(*, enabled: bool) -> Iterator[None]:
    """Allow a sparse graph on few members, so that its protocol can be played often."""
    with ExitStack() as stack:
        for module in ("_thresholds", "_limits") if enabled else ():
            stack.enter_context(patch(f"fedseal_crypto.masking.{module}.COMPLETE_GRAPH_LIMIT", 20))
        yield


def main() -> None:
    """Replay one seed and print its trace."""
    parser = argparse.ArgumentParser(description="Replay one simulated schedule.")
    parser.add_argument("seed", type=int)
    parser.add_argument("--sparse", action="store_true")
    parser.add_argument("--sabotage", choices=[item.name for item in Sabotage])
    chosen = parser.parse_args()
    sabotage = Sabotage[chosen.sabotage] if chosen.sabotage else None
    run = prepare(draw_schedule(chosen.seed, sparse=chosen.sparse, sabotage=sabotage), tracing=True)
    print(run.world.schedule)
    try:
        report = run.play()
    finally:
        print("\n".join(run.world.trace))
    print(f"{report.completed} of {report.schedule.rounds} rounds completed in {report.attempts} attempts")


if __name__ == "__main__":
    main()
