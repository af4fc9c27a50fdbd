"""What to change in a job file so that every policy allows it, or that no change of the file would do.

Each change is found from the policies' own lists and limits, and nothing is promised unchecked: the changes are made
to a copy of the job, and `Advice.sufficient` is what all policies then say.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fedseal_governance.errors import RefusedError
from fedseal_governance.jobs import EPOCH_SETTINGS, JobDocument
from fedseal_governance.policy.decision import NodeFacts, Reason
from fedseal_governance.policy.editing import edited
from fedseal_governance.policy.levels import Rules, decide_at_both_levels
from fedseal_governance.policy.model import PolicyDocument
from fedseal_governance.purposes import label_of, permits
from fedseal_governance.vocabulary import Disclosure, JobKind, Protection


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One place where the job is judged.

    Attributes:
        name: the node, or the file of a policy.
        rules: the policies that govern it there.
        facts: what is known there.
    """

    name: str
    rules: Rules
    facts: NodeFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What is installed and can be chosen from.

    Attributes:
        methods: what each method discloses, by name.
        learners: names.
        protections: those that can be run.
    """

    methods: Mapping[str, Disclosure]
    learners: Collection[str]
    protections: Collection[Protection]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobChange:
    """One line of the job file to change.

    Attributes:
        field: dotted key of the job file.
        value: what to write there; None to remove it.
        sentence: why.
    """

    field: str
    value: object
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """How the job could become allowed.

    Attributes:
        changes: what to change, in the order of the job file.
        obstacles: what no change of the job file can mend.
        sufficient: whether the job with all changes made is allowed everywhere.
    """

    changes: tuple[JobChange, ...]
    obstacles: tuple[str, ...]
    sufficient: bool


@dataclass(slots=True)
class _Found:
    changes: list[JobChange] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)

    def change(self, key: str, value: object, sentence: str) -> None:
        self.changes.append(JobChange(field=key, value=value, sentence=sentence))


def advise(job: JobDocument, sites: Sequence[Site], offer: Offer) -> Advice:
    """Find changes of ``job`` after which every one of ``sites`` allows it."""
    refusals = _refusals(job, sites)
    if not refusals:
        return Advice(changes=(), obstacles=(), sufficient=bool(sites))
    policies = _distinct(policy for site in sites for policy in site.rules.documents)
    found = _Found()
    refusing = {reason.clause for reasons in refusals.values() for reason in reasons}
    for clause, work in _MENDING.items():
        if clause in refusing:
            work(job, policies, offer, found)
    _leave_out(job, refusals, found)
    return Advice(
        changes=tuple(found.changes),
        obstacles=tuple(found.obstacles),
        sufficient=_would_be_allowed(job, sites, offer, found.changes),
    )


def _refusals(job: JobDocument, sites: Iterable[Site]) -> dict[str, tuple[Reason, ...]]:
    found = {}
    for site in sites:
        decision = decide_at_both_levels(job, site.rules, site.facts)
        if not decision.allowed:
            found[site.name] = decision.refusals
    return found


def _would_be_allowed(job: JobDocument, sites: Sequence[Site], offer: Offer, changes: Sequence[JobChange]) -> bool:
    try:
        changed = edited(job, {item.field: item.value for item in changes})
    except RefusedError:
        return False
    left = [site for site in sites if site.name in changed.nodes or site.name not in job.nodes]
    method = None if changed.method is None else changed.method.name
    for site in left:
        facts = site.facts
        if method is not None and job.method is not None and method != job.method.name:
            facts = replace(facts, method_discloses=offer.methods.get(method))
        if not decide_at_both_levels(changed, site.rules, facts).allowed:
            return False
    return bool(left)


def _distinct(policies: Iterable[PolicyDocument]) -> list[PolicyDocument]:
    found: list[PolicyDocument] = []
    for policy in policies:
        if policy not in found:
            found.append(policy)
    return found


def _common(lists: Iterable[Sequence[str]], *, among: Collection[str] | None = None) -> list[str]:
    """What all lists hold, in the order of the first."""
    first, *rest = [list(words) for words in lists]
    return [word for word in first if all(word in other for other in rest) and (among is None or word in among)]


def _dataset(_job: JobDocument, policies: list[PolicyDocument], _offer: Offer, found: _Found) -> None:
    words = _common(policy.datasets for policy in policies)
    if words:
        found.change("dataset", words[0], f"every policy covers {' and '.join(words)}")
    else:
        found.obstacles.append("No dataset is covered by every policy.")


def _purpose(_job: JobDocument, policies: list[PolicyDocument], _offer: Offer, found: _Found) -> None:
    codes = list(dict.fromkeys(purpose.code for policy in policies for purpose in policy.purposes))
    common = [code for code in codes if all(any(permits(p.code, code) for p in policy.purposes) for policy in policies)]
    if common:
        found.change("purpose", common[0], f"every policy allows {label_of(common[0])}")
    else:
        found.obstacles.append("No purpose is allowed by every policy.")


def _kind(job: JobDocument, policies: list[PolicyDocument], _offer: Offer, found: _Found) -> None:
    kinds = _common([kind.value for kind in policy.jobs.kinds] for policy in policies)
    if job.kind is JobKind.TRAINING and JobKind.STATISTICS.value in kinds:
        found.change("kind", JobKind.STATISTICS.value, "every policy allows statistics")
        for key in ("method", "learner", "target", "evaluation"):
            found.change(key, None, "a statistics job has none")
    else:
        found.obstacles.append(f"Not every policy allows {job.kind.plain}, and this job can be of no other kind.")


def _method(_job: JobDocument, policies: list[PolicyDocument], offer: Offer, found: _Found) -> None:
    names = _common((policy.jobs.methods for policy in policies), among=offer.methods)
    most = min(policy.protection.coordinator_may_learn for policy in policies)
    names = [name for name in names if offer.methods[name] <= most]
    if names:
        found.change("method.name", names[0], f"every policy allows {' and '.join(names)}")
    else:
        found.obstacles.append("No installed method is allowed by every policy.")


def _learner(_job: JobDocument, policies: list[PolicyDocument], offer: Offer, found: _Found) -> None:
    names = _common((policy.jobs.learners for policy in policies), among=offer.learners)
    if names:
        found.change("learner.name", names[0], f"every policy allows {' and '.join(names)}")
    else:
        found.obstacles.append("No installed learner is allowed by every policy.")


def _rounds(_job: JobDocument, policies: list[PolicyDocument], _offer: Offer, found: _Found) -> None:
    most = min(policy.jobs.max_rounds for policy in policies)
    found.change("method.rounds", most, f"the strictest policy allows {most}")


def _epochs(job: JobDocument, policies: list[PolicyDocument], _offer: Offer, found: _Found) -> None:
    most = min(policy.jobs.max_local_epochs for policy in policies)
    asked = job.local_epochs
    wanted = 1 if asked is not None and asked < 1 else most
    parts = {"method": job.method, "learner": job.learner}
    keys = [
        f"{part}.settings.{name}"
        for part, choice in parts.items()
        if choice is not None
        for name in EPOCH_SETTINGS
        if name in choice.settings
    ]
    for key in keys or ["method.settings.local_epochs"]:
        found.change(key, wanted, f"the strictest policy allows {most}")


def _protection(_job: JobDocument, policies: list[PolicyDocument], offer: Offer, found: _Found) -> None:
    lists = ([way.value for way in policy.protection.allowed] for policy in policies)
    ways = _common(lists, among=[way.value for way in offer.protections])
    if ways:
        found.change("protection", ways[0], f"every policy allows {' and '.join(ways)}")
    else:
        found.obstacles.append("No protection that can be run here is allowed by every policy.")


def _disclosure(job: JobDocument, policies: list[PolicyDocument], offer: Offer, found: _Found) -> None:
    most = min(policy.protection.coordinator_may_learn for policy in policies)
    renamed = next((str(item.value) for item in found.changes if item.field == "method.name"), None)
    if job.method is None:
        stated: Disclosure | None = Disclosure.SUM
    else:
        stated = offer.methods.get(renamed or job.method.name)
    if stated is not None and stated <= most:
        found.change("disclosure", stated.value, f"the method discloses {stated.plain}, and every policy allows that")
    elif "method.name" not in [item.field for item in found.changes]:
        _method(job, policies, offer, found)
        renamed = next((str(item.value) for item in found.changes if item.field == "method.name"), None)
        if renamed is not None:
            found.change("disclosure", offer.methods[renamed].value, f"that is what {renamed} discloses")


def _cohort(job: JobDocument, policies: list[PolicyDocument], _offer: Offer, found: _Found) -> None:
    least = max(policy.protection.minimum_cohort for policy in policies)
    if least <= len(job.nodes):
        found.change("minimum_cohort", least, f"the strictest policy asks for {least} sites in a sum")
    else:
        found.obstacles.append(
            f"A policy asks for {least} sites in a sum and the job names {len(job.nodes)}; name at least {least} in "
            f"`nodes`, and write `minimum_cohort: {least}`."
        )


_MENDING: Mapping[str, Callable[[JobDocument, list[PolicyDocument], Offer, _Found], None]] = {
    "purposes": _purpose,
    "datasets": _dataset,
    "jobs.kinds": _kind,
    "jobs.methods": _method,
    "jobs.max_rounds": _rounds,
    "jobs.max_local_epochs": _epochs,
    "jobs.learners": _learner,
    "protection.allowed": _protection,
    "protection.coordinator_may_learn": _disclosure,
    "protection.minimum_cohort": _cohort,
}
"""What mends a refusal by each clause; a refusal by any other clause no change of the job file mends."""


def _leave_out(job: JobDocument, refusals: Mapping[str, Sequence[Reason]], found: _Found) -> None:
    """Sites that refuse for reasons of their own can be left out, if enough are left."""
    stubborn: list[str] = []
    for name, reasons in refusals.items():
        own = [reason for reason in reasons if reason.clause not in _MENDING]
        if own:
            stubborn.append(name)
            found.obstacles += [f"{name}: [{reason.label}] {reason.sentence}" for reason in own]
    left = [node for node in job.nodes if node not in stubborn]
    cohort = max(
        [job.minimum_cohort, *(_number(item.value) for item in found.changes if item.field == "minimum_cohort")]
    )
    leavable = all(name in job.nodes for name in stubborn)
    if stubborn and leavable and len(left) >= cohort:
        found.change("nodes", left, f"{' and '.join(stubborn)} would refuse whatever else the job says")


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
