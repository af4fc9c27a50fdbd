"""What counts as failure in a simulated run, and the observer that sees everything and decides.

Failure, each with its kind:

- `wrong sum`: the coordinator's sum is not the ring sum of its survivors' inputs, or it does not decode, or the lane
  in which every member contributes its own power of two shows other members than the survivors, so that a lost,
  replayed or foreign contribution is visible; or a restarted coordinator comes to another result;
- `too few`: a sum over fewer members than threshold, minimum cohort and two honest members ask;
- `two answers`: a member answers one step of one attempt with different bytes at different times;
- `both kinds`: for one member of one attempt both a self-mask share and a pairwise share are revealed, by anybody;
- `reuse`: a public key, a commitment or a sealing key appears twice, a mask key appears in two attempts, or a member
  uses one key with one nonce twice;
- `two sums`: of one round's input two sums could be opened by a coordinator that kept everything that was ever sent,
  even if c members gave it their shares; or two sums over one broadcast could be opened (without their help) whose
  contributors are neither the same nor at least the minimum apart;
- `broken word`: a member reveals shares for an attempt that it has declared, or declares afterwards, given up;
- `two stories`: one member is given two different instructions for one step of one attempt;
- `honest refused`: a party refuses what an honest party sent in the attempt that both are in, for another reason than
  that it came too late; or a refusal changes the state of who refused;
- `deadlock`: the network has been good and nobody has crashed for long, enough members live that may contribute, and
  yet the round is not done.

No failure: an attempt that fails or is given up; a member that is left out of a sum because it was slow, had crashed
or had restarted; any message of another attempt being refused; a round that can never be completed because too many
members have revealed shares for an attempt which the coordinator then lost (their inputs must not enter another sum),
or because too few members live, or because the rule on differences forbids it; on a sparse graph a member that gives
up because too few of its own neighbours are left.

Left out: dishonest parties, which the unit tests play; forged or torn frames, which transport and decoders refuse.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fedseal_crypto.encoding import Layout, RingVector, SumInconsistent
from fedseal_crypto.masking import (
    Advertisement,
    ClientId,
    ClientMessage,
    EarlyMessage,
    LateMessage,
    MaskedInput,
    ProtocolViolation,
    RingSum,
    RoundParameters,
    UnknownMember,
    Unmasking,
)

Key = tuple[int, int]
"""Round and attempt."""

MINIMUM_DIFFERENCE = 3
MARKS = "marks"


class Failure(StrEnum):
    """The kinds of failure; see the module's docstring."""

    WRONG_SUM = "wrong sum"
    TOO_FEW = "too few"
    TWO_ANSWERS = "two answers"
    BOTH_KINDS = "both kinds"
    REUSE = "reuse"
    TWO_SUMS = "two sums"
    BROKEN_WORD = "broken word"
    TWO_STORIES = "two stories"
    HONEST_REFUSED = "honest refused"
    DEADLOCK = "deadlock"


class SimulationFailed(AssertionError):
    """A run failed."""

    def __init__(self, kind: Failure, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind


@dataclass(slots=True)
class Attempt:
    """What was seen of one attempt.

    Attributes:
        survivors: Of the list that the coordinator sent round.
        inputs: Whose masked vector ever left.
        revealers: Who ever revealed shares.
    """

    parameters: RoundParameters
    layout: Layout
    survivors: frozenset[ClientId] = frozenset()
    inputs: dict[ClientId, RingVector] = field(default_factory=dict)
    revealers: set[ClientId] = field(default_factory=set)
    kinds: dict[int, str] = field(default_factory=dict)
    result: RingSum | None = None

    def may_be_opened(self, *, corrupted: int) -> bool:
        """Whether the shares that ever left give the sum, with those of so many members more."""
        return len(self.revealers) + corrupted >= self.parameters.threshold


@dataclass(slots=True)
class Judge:
    """Sees what every party sends and does, and raises at the first failure.

    Attributes:
        actor: Who computes at present, and in which attempt; set by the programs.
    """

    attempts: dict[Key, Attempt] = field(default_factory=dict)
    actor: tuple[str, Key] = ("", (0, 0))
    _answers: dict[tuple[Key, str, str], bytes] = field(default_factory=dict)
    _stories: dict[tuple[Key, str, str], bytes] = field(default_factory=dict)
    _unique: dict[bytes, str] = field(default_factory=dict)
    _mask_keys: dict[bytes, Key] = field(default_factory=dict)
    _given_up: set[tuple[ClientId, bytes]] = field(default_factory=set)
    _streams: set[tuple[str, bytes, int]] = field(default_factory=set)

    # -- what is sent ----------------------------------------------------------------------------------

    def attempt_begins(self, key: Key, parameters: RoundParameters, layout: Layout) -> None:
        """The coordinator has fixed the parameters of an attempt."""
        if key in self.attempts:
            raise SimulationFailed(Failure.TWO_STORIES, f"attempt {key} begins twice")
        self.attempts[key] = Attempt(parameters, layout)

    def member_sends(self, key: Key, message: ClientMessage, plain: RingVector | None = None) -> None:
        """A member's message leaves; `plain` is the input behind a masked one."""
        client, kind = message.client, type(message).__name__
        data = message.words.to_bytes() if isinstance(message, MaskedInput) else message.encode()
        before = self._answers.setdefault((key, client, kind), data)
        if before != data:
            raise SimulationFailed(Failure.TWO_ANSWERS, f"{client} sends a second, different {kind} in attempt {key}")
        attempt = self.attempts[key]
        if isinstance(message, Advertisement):
            for name in ("mask_key", "channel_key", "commitment", "graph_commitment"):
                self._used_once(getattr(message, name), f"{name} of {client} in attempt {key}")
            self._given_up.update((client, context) for context in message.abandoned)
            self._check_word(client)
        elif isinstance(message, MaskedInput) and plain is not None:
            attempt.inputs[client] = plain
        elif isinstance(message, Unmasking):
            self._shares_revealed(key, attempt, message)

    def coordinator_tells(self, key: Key, step: str, client: str, payload: bytes) -> None:
        """An instruction leaves."""
        if self._stories.setdefault((key, step, client), payload) != payload:
            raise SimulationFailed(Failure.TWO_STORIES, f"{client} is told two different things in {step} of {key}")

    def _shares_revealed(self, key: Key, attempt: Attempt, message: Unmasking) -> None:
        attempt.revealers.add(message.client)
        self._check_word(message.client)
        for kind, shares in (("self-mask", message.self_mask), ("pairwise", message.pairwise)):
            for share in shares:
                if attempt.kinds.setdefault(share.owner, kind) != kind:
                    owner = attempt.parameters.roster[share.owner]
                    raise SimulationFailed(Failure.BOTH_KINDS, f"{message.client} reveals the other kind of {owner}")
        self._check_two_sums(key)

    def _check_word(self, client: ClientId) -> None:
        for key, attempt in self.attempts.items():
            if client in attempt.revealers and (client, attempt.parameters.context0()) in self._given_up:
                raise SimulationFailed(Failure.BROKEN_WORD, f"{client} has given up {key}, for which it reveals shares")

    # -- what is refused -------------------------------------------------------------------------------

    def coordinator_refuses(self, error: ProtocolViolation, *, same_attempt: bool, changed: bool) -> None:
        """The coordinator did not take an honest member's message."""
        too_late = isinstance(error, (LateMessage, UnknownMember)) and not isinstance(error, EarlyMessage)
        if changed or (same_attempt and not too_late):
            raise SimulationFailed(Failure.HONEST_REFUSED, f"the coordinator: {error}")

    def member_refuses(self, client: str, error: Exception, *, allowed: bool, changed: bool) -> None:
        """A member did not answer an honest coordinator's instruction."""
        if changed or not allowed:
            raise SimulationFailed(Failure.HONEST_REFUSED, f"{client}: {type(error).__name__}: {error}")

    # -- keys ------------------------------------------------------------------------------------------

    def stream_used(self, key: bytes, place: int) -> None:
        """A keystream is about to be made."""
        actor, attempt = self.actor
        digest = hashlib.sha256(key).digest()
        if self._mask_keys.setdefault(digest, attempt) != attempt:
            raise SimulationFailed(Failure.REUSE, f"a mask key of attempt {self._mask_keys[digest]} in {attempt}")
        if actor.startswith("node"):
            use = (actor, digest, place)
            if use in self._streams:
                raise SimulationFailed(Failure.REUSE, f"{actor} uses a key and nonce twice in attempt {attempt}")
            self._streams.add(use)

    def sealed(self, key: bytes) -> None:
        """A share is about to be sealed; the nonce is always zero."""
        self._used_once(hashlib.sha256(b"seal" + key).digest(), f"sealing key of {self.actor[0]} in {self.actor[1]}")

    def _used_once(self, value: bytes, what: str) -> None:
        if value and self._unique.setdefault(value, what) != what:
            raise SimulationFailed(Failure.REUSE, f"{what} is that of {self._unique[value]}")

    # -- sums ------------------------------------------------------------------------------------------

    def sum_opened(self, key: Key, result: RingSum) -> None:
        """The coordinator has a sum."""
        attempt = self.attempts[key]
        if len(result.survivors) < max(attempt.parameters.smallest_sum, attempt.parameters.minimum_cohort):
            raise SimulationFailed(Failure.TOO_FEW, f"a sum over {len(result.survivors)} members in attempt {key}")
        if attempt.result is not None:
            if (attempt.result.words, attempt.result.survivors) != (result.words, result.survivors):
                raise SimulationFailed(Failure.WRONG_SUM, f"two different results of attempt {key}")
            return
        expected = RingVector.zeros(attempt.layout)
        for name in result.survivors:
            expected.add_in_place(attempt.inputs[name])
        if expected != result.words or result.blamed:
            raise SimulationFailed(Failure.WRONG_SUM, f"attempt {key}: not the sum of its survivors' inputs")
        try:
            marks = attempt.layout.decode(result.words, count=len(result.survivors))[MARKS]
        except SumInconsistent as error:
            raise SimulationFailed(Failure.WRONG_SUM, f"attempt {key}: {error}") from error
        if int(marks[0]) != marks_of(result.survivors):
            raise SimulationFailed(Failure.WRONG_SUM, f"attempt {key}: the marks {int(marks[0]):b} are of others")
        attempt.result = result
        self._check_two_sums(key)

    def _check_two_sums(self, key: Key) -> None:
        """See `two sums` in the module's docstring."""
        mine = self.attempts[key]
        for other_key, other in self.attempts.items():
            if other_key == key:
                continue
            same_round = other_key[0] == key[0]
            if same_round and all(one.may_be_opened(corrupted=one.parameters.corrupted) for one in (mine, other)):
                twice = sorted(mine.survivors & other.survivors)
                if twice:
                    detail = f"the input of {', '.join(twice)} can be opened in {other_key} and {key}"
                    raise SimulationFailed(Failure.TWO_SUMS, detail)
            same_broadcast = other.parameters.broadcast_digest == mine.parameters.broadcast_digest
            if same_broadcast and all(one.may_be_opened(corrupted=0) for one in (mine, other)):
                apart = mine.survivors ^ other.survivors
                if 0 < len(apart) < MINIMUM_DIFFERENCE:
                    detail = f"sums {other_key} and {key} differ by {', '.join(sorted(apart))} only"
                    raise SimulationFailed(Failure.TWO_SUMS, detail)


def marks_of(names: Iterable[str]) -> int:
    """The sum of these members' powers of two."""
    return sum(mark_of(name) for name in names)


def mark_of(name: str) -> int:
    """A member's own power of two."""
    return 1 << int(name.rpartition("-")[2])


def may_contribute(
    opened: Mapping[Key, Attempt], *, inputs: Iterable[Key], declared: Mapping[Key, int], sparse: bool
) -> bool:
    """Whether a member may contribute to a round again, from the rule and not from the code.

    Args:
        opened: The round's attempts.
        inputs: Attempts of the round that the member's input was stored as sent in.
        declared: How many living members have given each attempt up or will when asked.
        sparse: On a sparse graph a member sees too few declarations to know that an attempt is dead.
    """
    for key in inputs:
        parameters = opened[key].parameters
        silent = declared.get(key, 0) - parameters.corrupted
        if sparse or len(parameters.roster) - silent >= parameters.threshold:
            return False
    return True
