"""Which installed methods suit a federation, by the facts that each method declares.

Rules this module keeps:
- Nothing here knows a method by name: it reads `Suitability` and the disclosure statement of whatever is installed.
- A method that discloses more than is allowed is never proposed; it is listed apart, with what it would take.
- A method meets a need only if it says so. Where none meets all needs, those that meet most are named with what stays
  open; a method that lacks something indispensable is never named.
- A training method that declares nothing is named as such, so that it is not overlooked silently.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from fedseal.methods.contract import EVALUATION_STAGE, STATISTICS_STAGE, Method
from fedseal.methods.registry import method_class, method_names
from fedseal.methods.suitability import INDISPENSABLE, Need, Suitability
from fedseal_governance.vocabulary import Disclosure


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is known of a federation.

    Attributes:
        coordinator_may_learn: The most that every site's policy allows.
        needs: What it needs beside an average.
    """

    coordinator_may_learn: Disclosure
    needs: frozenset[Need] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One method in a situation.

    Attributes:
        method: The class.
        suits: Its facts.
        met: Needs of the situation that it meets, in the order of `Need`.
        open: Needs that it does not meet.
    """

    method: type[Method]
    suits: Suitability
    met: tuple[Need, ...]
    open: tuple[Need, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is proposed: its purpose, and how it meets each need."""
        return (self.suits.purpose, *(self.suits.meets[need] for need in self.met))

    @property
    def level(self) -> Disclosure:
        """What the coordinator learns."""
        return self.method.statement.level


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The answer.

    Attributes:
        fitting: Methods that meet every need within what may be disclosed, plainest first.
        nearest: Where none fits: those within it that meet most needs, at least one.
        disclose_more: Where none fits: those that meet more needs and disclose more than is allowed.
        undeclared: Training methods that declare no facts.
    """

    situation: Situation
    fitting: tuple[Candidate, ...]
    nearest: tuple[Candidate, ...]
    disclose_more: tuple[Candidate, ...]
    undeclared: tuple[str, ...]


def training_methods() -> tuple[type[Method], ...]:
    """Installed methods that a job can name, sorted by name."""
    return tuple(method_class(name) for name in method_names() if name not in (STATISTICS_STAGE, EVALUATION_STAGE))


def declared(method: type[Method]) -> Suitability | None:
    """A method's facts; None if it declares none."""
    facts = getattr(method, "suits", None)
    return facts if isinstance(facts, Suitability) else None


def choose(situation: Situation, methods: Iterable[type[Method]] | None = None) -> Choice:
    """Which of ``methods`` (default: those installed) suit the situation."""
    candidates, undeclared = [], []
    for method in training_methods() if methods is None else methods:
        facts = declared(method)
        if facts is None:
            undeclared.append(method.name)
        else:
            candidates.append(_candidate(method, facts, situation.needs))
    candidates = sorted((item for item in candidates if not INDISPENSABLE & set(item.open)), key=_plainness)
    allowed = [item for item in candidates if item.level <= situation.coordinator_may_learn]
    fitting = tuple(item for item in allowed if not item.open)
    most = max((len(item.met) for item in allowed), default=0)
    return Choice(
        situation=situation,
        fitting=fitting,
        nearest=() if fitting or not most else _varied([item for item in allowed if len(item.met) == most]),
        disclose_more=tuple(
            item
            for item in candidates
            if item.level > situation.coordinator_may_learn and not fitting and len(item.met) > most
        ),
        undeclared=tuple(sorted(undeclared)),
    )


def _candidate(method: type[Method], facts: Suitability, needs: frozenset[Need]) -> Candidate:
    return Candidate(
        method=method,
        suits=facts,
        met=tuple(need for need in Need if need in needs and need in facts.meets),
        open=tuple(need for need in Need if need in needs and need not in facts.meets),
    )


def _plainness(item: Candidate) -> tuple[int, Disclosure, int, bool, str]:
    """Most needs met first, then least disclosed, then fewest things that nobody asked for, then the baseline."""
    spare = len(item.suits.meets) - len(item.met)
    return (-len(item.met), item.level, spare, not item.suits.baseline, item.method.name)


def _varied(items: list[Candidate]) -> tuple[Candidate, ...]:
    """In turns by which needs they meet, so that no need hides behind the many methods for another."""
    turns: dict[str, int] = {}
    seen: dict[tuple[Need, ...], int] = {}
    for item in items:
        turns[item.method.name] = seen[item.met] = seen.get(item.met, -1) + 1
    return tuple(sorted(items, key=lambda item: turns[item.method.name]))
