"""Pieces of a hostile coordinator: honest messages to take apart, and what must be left after an attack."""

from dataclasses import replace

from fedseal_crypto.masking import (
    Advertisement,
    ClientId,
    Roster,
    ShareDelivery,
    Step,
    Survivors,
)
from fedseal_governance.participation import AttemptState
from tests.unit.node.attempts import Attempt, assert_counts, assert_ignored
from tests.unit.node.papers import ROWS
from tests.unit.node.parties import NODES


def assert_attempt_is_over(attempt: Attempt) -> None:
    """Nothing of the attempt can be asked for any more, and the next one is answered as if nothing had been."""
    site = attempt.site
    [row] = site.attempts(attempt.address.job)
    assert row.state is AttemptState.ABANDONED
    for step in (Step.SHARE, Step.MASK, Step.CONFIRM, Step.UNMASK):
        if attempt.server.step is step:
            honest = attempt.server.instruction_for(attempt.me)
            assert honest is not None
            assert_ignored(site, lambda honest=honest: attempt.instruct(honest))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    gave_up = dict.fromkeys(NODES, (attempt.context,))
    assert_counts(attempt.coordinator.attempt(1, abandoned=gave_up).finish(), ROWS)


def roster_of(attempt: Attempt) -> Roster:
    message = attempt.reach(Step.SHARE)
    assert isinstance(message, Roster)
    return message


def entry_of(roster: Roster, name: ClientId) -> Advertisement:
    return next(entry for entry in roster.advertisements if entry.client == name)


def with_entry(roster: Roster, entry: Advertisement) -> Roster:
    kept = [item for item in roster.advertisements if item.client != entry.client]
    return replace(roster, advertisements=tuple(sorted([*kept, entry], key=lambda item: item.client)))


def resigned(entry: Advertisement, attempt: Attempt) -> Advertisement:
    """What a colluding member signs."""
    key = attempt.coordinator.consortium.parties[entry.client].key
    return replace(entry, signature=key.sign(entry.signed()))


def delivery_of(attempt: Attempt) -> ShareDelivery:
    message = attempt.reach(Step.MASK)
    assert isinstance(message, ShareDelivery)
    return message


def survivors_of(attempt: Attempt, *names: str) -> Survivors:
    """A list with exactly these members."""
    honest = attempt.server.instruction_for(attempt.me)
    assert isinstance(honest, Survivors)
    bits = sum(1 << index for index, name in enumerate(attempt.parameters.roster) if name in names)
    return replace(honest, survivors=bits.to_bytes(len(honest.survivors), "little"))


def everybody_but(*names: str) -> tuple[str, ...]:
    return tuple(name for name in NODES if name not in names)
