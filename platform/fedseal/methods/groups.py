"""Sums over groups of nodes: which nodes a round asks, and which groups a job may have.

A `GroupedMethod` gets one secure sum for each group, in turns: round r of its stage is summed over group r modulo the
number of groups, and nobody else takes part in it. So the floor that holds for every sum holds for every group, with
nothing new to trust: nodes and custodian refuse a round whose members are fewer than the minimum cohort, or not of the
group, before anything can be opened. See docs/decisions/0060-groups-take-turns.md.
"""

from fedseal.methods.contract import GroupedMethod, Method
from fedseal.methods.errors import MethodUnsuitable
from fedseal_governance.jobs import SMALLEST_PROTECTED_COHORT, JobDocument
from fedseal_governance.vocabulary import Protection


def asked_nodes(method: Method, job: JobDocument, round_index: int) -> frozenset[str]:
    """The nodes whose contributions a round of ``method`` may hold: all of the job's, or those of the round's group."""
    if not isinstance(method, GroupedMethod):
        return frozenset(job.nodes)
    groups = method.groups(job)
    return groups[round_index % len(groups)]


def require_groups(method: Method, job: JobDocument) -> None:
    """Refuse a job with a group whose sum could never be released.

    Raises:
        MethodUnsuitable: A group is smaller than the minimum cohort, groups overlap or do not make up the job's nodes,
            or a round of training would be nobody's.
    """
    if not isinstance(method, GroupedMethod):
        return
    groups = method.groups(job)
    if sorted(node for group in groups for node in group) != sorted(job.nodes):
        raise MethodUnsuitable(
            f'Method "{method.name}" sums over groups, and its groups do not name each node of the job exactly once.'
        )
    protected = job.protection is not Protection.NONE
    least = max(job.minimum_cohort, SMALLEST_PROTECTED_COHORT) if protected else 1
    for number, group in enumerate(groups, start=1):
        if len(group) < least:
            raise MethodUnsuitable(
                f'Method "{method.name}" sums over groups, and group {number} ({", ".join(sorted(group)) or "nobody"}) '
                f"has {len(group)} nodes where no sum over fewer than {least} is released; put its nodes into another "
                "group, or ask more nodes."
            )
    if job.method is not None and job.method.rounds % len(groups):
        raise MethodUnsuitable(
            f'Method "{method.name}" sums over {len(groups)} groups in turns, and {job.method.rounds} rounds are no '
            f"whole number of turns; write a multiple of {len(groups)}."
        )
