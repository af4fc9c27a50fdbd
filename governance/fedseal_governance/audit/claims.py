"""What a log claims about things that another party's log must speak of too: jobs, rounds, sums, refusals, states.

A claim has a subject that both parties name alike, and values that must be equal where both name them. Rules kept here:

1. Only entries that this software writes become claims; other entries are left out, never guessed at.
2. What it means that the other log lacks a claim is said with the claim: `REQUIRED` where the other side must have
   written it first or at the same time, `EXPECTED` where a lost message or a crash explains it as well.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from fedseal_governance.audit.entries import Entry

Key = tuple[str, ...]


class Absence(StrEnum):
    """What it means that the other log lacks a claim."""

    REQUIRED = "required"
    EXPECTED = "expected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim.

    Attributes:
        key: What it is about; equal in both logs.
        says: The claim for a sentence, after the log's name: "accepted job 7330d04c0325".
        values: What must be equal in the other log, as far as it has the same names.
        seq: The entry.
        absence: What it means that the other log lacks it.
        excuse: How that can come about honestly; empty where it cannot.
    """

    key: Key
    says: str
    values: Mapping[str, object]
    seq: int
    absence: Absence
    excuse: str = ""


_LOST = "The message may have been lost, or the party was away."
_ANSWERS = {"job.accepted": "accepted", "job.declined": "refused", "job.refused": "refused"}
_ENDS = {"job.finished", "job.failed", "job.stopped", "job.refused"}


def party_of(origin: str) -> str:
    """The party's name in a log's origin, `fedseal/<federation>/<party>`."""
    return origin.rpartition("/")[2]


def coordinator_claims(entries: Iterable[Entry], node: str) -> Iterator[Claim]:
    """What a coordinator's log claims that concerns one node: of jobs that name it."""
    asked: set[str] = set()
    for entry in entries:
        nodes = entry.details.get("nodes")
        if entry.type == "job.submitted" and isinstance(nodes, list) and node in nodes:
            asked.add(entry.subject)
        if entry.subject in asked:
            made = (maker(entry, node) for maker in _FROM_COORDINATOR.get(entry.type, ()))
            yield from (claim for claim in made if claim is not None)


def node_claims(entries: Iterable[Entry]) -> Iterator[Claim]:
    """What a node's log claims that concerns its coordinator."""
    for entry in entries:
        maker = _FROM_NODE.get(entry.type)
        if maker is not None:
            yield maker(entry)


def shared_claims(entries: Iterable[Entry], other: str) -> Iterator[Claim]:
    """What a node's log claims that another node's must say too: what the coordinator told both."""
    for claim in node_claims(entries):
        roster = claim.values.get("roster") or claim.values.get("survivors")
        if (claim.key[0] in ("round", "sum") and isinstance(roster, list) and other in roster) or claim.key[0] == "end":
            yield claim


def _coordinator_answer(entry: Entry, node: str) -> Claim | None:
    if entry.actor != f"node/{node}":
        return None
    answer = _ANSWERS[entry.type]
    return Claim(
        key=("answer", _job(entry)),
        says=f"{node} {answer} job {_short(entry)}",
        values={"answer": answer, "policy": entry.details.get("policy")},
        seq=entry.seq,
        absence=Absence.REQUIRED,
    )


def _node_answer(entry: Entry) -> Claim:
    answer = _ANSWERS[entry.type]
    return Claim(
        key=("answer", _job(entry)),
        says=f"it {answer} job {_short(entry)}",
        values={"answer": answer, "policy": entry.details.get("policy")},
        seq=entry.seq,
        absence=Absence.EXPECTED,
        excuse="The answer may not have arrived, or came after the job was closed.",
    )


def _coordinator_round(entry: Entry, node: str) -> Claim | None:
    roster = entry.details.get("roster")
    if not isinstance(roster, list) or node not in roster:
        return None
    return Claim(
        key=("round", *_address(entry)),
        says=f"{_round(entry)} began with {node}",
        values={**_pick(entry, "broadcast", "context", "threshold"), "roster": sorted(map(str, roster))},
        seq=entry.seq,
        absence=Absence.EXPECTED,
        excuse=_LOST,
    )


def _node_round(entry: Entry) -> Claim:
    roster = entry.details.get("roster")
    listed = sorted(map(str, roster)) if isinstance(roster, list) else []
    return Claim(
        key=("round", *_address(entry)),
        says=f"it entered {_round(entry)}",
        values={**_pick(entry, "broadcast", "context", "threshold"), "roster": listed},
        seq=entry.seq,
        absence=Absence.REQUIRED,  # the coordinator writes a round down before it tells anybody
    )


def _coordinator_contribution(entry: Entry, node: str) -> Claim | None:
    survivors = entry.details.get("survivors")
    if not isinstance(survivors, list) or node not in survivors:
        return None
    return Claim(
        key=("contribution", *_address(entry)),
        says=f"the sum of {_round(entry)} holds a contribution of {node}",
        values={},
        seq=entry.seq,
        absence=Absence.REQUIRED,  # a node writes it down before anything leaves
    )


def _coordinator_sum(entry: Entry, node: str) -> Claim | None:
    survivors = entry.details.get("survivors")
    if not isinstance(survivors, list) or node not in survivors:
        return None
    return Claim(
        key=("sum", *_address(entry)),
        says=f"the sum of {_round(entry)} was opened over {len(survivors)} nodes",
        values={"survivors": sorted(map(str, survivors))},
        seq=entry.seq,
        absence=Absence.EXPECTED,
        excuse="Enough others had opened it.",
    )


def _node_contribution(entry: Entry) -> Claim:
    return Claim(
        key=("contribution", *_address(entry)),
        says=f"it sent a protected contribution to {_round(entry)}",
        values={},
        seq=entry.seq,
        absence=Absence.EXPECTED,
        excuse="It may have arrived late, or the attempt failed: then it is in no sum.",
    )


def _node_sum(entry: Entry) -> Claim:
    survivors = entry.details.get("survivors")
    return Claim(
        key=("sum", *_address(entry)),
        says=f"it helped to open the sum of {_round(entry)}",
        values={"survivors": sorted(map(str, survivors))} if isinstance(survivors, list) else {},
        seq=entry.seq,
        absence=Absence.EXPECTED,
        excuse="The attempt may have failed in its last step for want of others.",
    )


def _coordinator_refusal(entry: Entry, node: str) -> Claim | None:
    if entry.actor != f"node/{node}":
        return None
    return Claim(
        key=("refusal", *_address(entry)),
        says=f"{node} kept out of {_round(entry)}",
        values=_pick(entry, "code"),
        seq=entry.seq,
        absence=Absence.REQUIRED,
    )


def _node_refusal(entry: Entry) -> Claim:
    return Claim(
        key=("refusal", *_address(entry)),
        says=f"it kept out of {_round(entry)}",
        values=_pick(entry, "code"),
        seq=entry.seq,
        absence=Absence.EXPECTED,
        excuse=_LOST,
    )


def _coordinator_end(entry: Entry, node: str) -> Claim | None:
    record = entry.details.get("record")
    if record is None:
        return None  # a job that was turned away before any node was asked
    return Claim(
        key=("end", _job(entry)),
        says=f"job {_short(entry)} ended",
        values={"record": record},
        seq=entry.seq,
        absence=Absence.EXPECTED,
        excuse=f"{node} may have been away when the job ended, or had refused it.",
    )


def _node_end(entry: Entry) -> Claim:
    record = entry.details.get("record")
    return Claim(
        key=("end", _job(entry)),
        says=f"it heard that job {_short(entry)} ended",
        values={} if record is None else {"record": record},
        seq=entry.seq,
        absence=Absence.REQUIRED,
    )


def _pick(entry: Entry, *names: str) -> dict[str, object]:
    return {name: entry.details[name] for name in names if name in entry.details}


def _job(entry: Entry) -> str:
    return entry.subject.removeprefix("job/")


def _short(entry: Entry) -> str:
    return _job(entry)[:12]


def _address(entry: Entry) -> Key:
    return (_job(entry), *(str(entry.details.get(name)) for name in ("stage", "round", "attempt")))


def _round(entry: Entry) -> str:
    number, attempt = entry.details.get("round"), entry.details.get("attempt")
    again = f", attempt {attempt + 1}" if isinstance(attempt, int) and attempt else ""
    shown = number + 1 if isinstance(number, int) else number
    return f"{entry.details.get('stage')} round {shown}{again} of job {_short(entry)}"


_FROM_COORDINATOR: Mapping[str, tuple[Callable[[Entry, str], Claim | None], ...]] = {
    "job.accepted": (_coordinator_answer,),
    "job.declined": (_coordinator_answer,),
    "round.started": (_coordinator_round,),
    "round.declined": (_coordinator_refusal,),
    "round.completed": (_coordinator_contribution, _coordinator_sum),
    **dict.fromkeys(_ENDS, (_coordinator_end,)),
}
_FROM_NODE: Mapping[str, Callable[[Entry], Claim]] = {
    "job.accepted": _node_answer,
    "job.refused": _node_answer,
    "round.entered": _node_round,
    "round.contributed": _node_contribution,
    "round.unmasked": _node_sum,
    "round.refused": _node_refusal,
    "job.ended": _node_end,
}
