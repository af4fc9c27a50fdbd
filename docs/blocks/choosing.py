"""Which method for which federation, from what each method declares of itself."""

from collections.abc import Callable, Mapping
from itertools import combinations

from blocks.markdown import code, table

from fedseal.methods import Need, Situation, choose, training_methods
from fedseal.methods.choosing import Candidate, declared
from fedseal_governance.vocabulary import Disclosure

_SHORT = {
    Need.UNTRUSTED_NODES: "untrusted nodes",
    Need.DIFFERENT_MODELS: "different models",
    Need.SCARCE_BANDWIDTH: "scarce bandwidth",
    Need.DIFFERENT_DATA: "different data",
}


def _facts() -> str:
    rows = []
    for method in training_methods():
        facts = declared(method)
        if facts is None:
            rows.append((code(method.name), method.statement.level.name, "", "nothing is declared", ""))
            continue
        meets = "<br>".join(f"{_SHORT[need]}: {facts.meets[need]}" for need in Need if need in facts.meets)
        rows.append((code(method.name), method.statement.level.name, facts.purpose, meets, facts.cost))
    return table(("method", "coordinator learns", "what it does", "meets", "cost"), rows)


def _answers() -> str:
    rows = [
        (", ".join(_SHORT[need] for need in needs) or "none of these", *_row(frozenset(needs)))
        for count in range(len(Need) + 1)
        for needs in combinations(Need, count)
    ]
    return table(("needs", "where only sums may be learnt", "where more may be learnt"), rows)


def _row(needs: frozenset[Need]) -> tuple[str, str]:
    narrow = choose(Situation(coordinator_may_learn=Disclosure.SUM, needs=needs))
    wide = choose(Situation(coordinator_may_learn=Disclosure.INDIVIDUAL, needs=needs))
    more = [item for item in wide.fitting if item.level is not Disclosure.SUM and (item.met or not item.suits.meets)]
    return _names(narrow.fitting) or _nearest(narrow.nearest), ", ".join(
        f"{code(item.method.name)} ({item.level.name})" for item in more
    )


def _names(items: tuple[Candidate, ...]) -> str:
    # Without a need every method would do; those made for something else are left out.
    plain = [item for item in items if len(item.suits.meets) == len(item.met)] or list(items)
    extra = [item for item in items if item not in plain and item.met]
    return ", ".join(code(item.method.name) for item in (*plain, *extra))


def _nearest(items: tuple[Candidate, ...]) -> str:
    if not items:
        return "none"
    parts: dict[tuple[Need, ...], list[str]] = {}
    for item in items:
        parts.setdefault(item.open, []).append(code(item.method.name))
    told = [f"{', '.join(names)} (leave {', '.join(_SHORT[need] for need in left)})" for left, names in parts.items()]
    return f"none meets all; {'; '.join(told)}"


BLOCKS: Mapping[str, Callable[[], str]] = {"method-facts": _facts, "method-answers": _answers}
