"""Who takes part in a job's next round, and how long it waits for the rest. No I/O.

Rules kept here:

1. A node that refused an attempt is not asked again before a round completes; when too few are left, the job cannot go
   on, and the refusals say why.
2. A round waits a while for a node that was never seen, and for one that has just left; without the minimum cohort it
   waits longer, and then the job ends.
3. Where a policy compares all sums of a job, a node that missed the last one stays out.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from fedseal.coordinator.attendance import Session
from fedseal.coordinator.config import CoordinatorSettings
from fedseal.coordinator.strictest import (
    CommonPolicies,
    compares_every_round,
    no_common_policies,
    policy_for,
)
from fedseal.errors import RefusalError


class Gathering:
    """The absences and refusals of one job's nodes.

    Args:
        dataset: the job's.
        minimum_cohort: fewest nodes with which a round may begin.
        settings: how long to wait.
        last_sum: the nodes in the job's newest sum, None before the first.
        last_asked: the nodes that could have been in it; where groups take turns, sums of one group are compared.
        now: waiting begins here.
        common_policies: gives the federation's own policies.
    """

    def __init__(
        self,
        *,
        dataset: str,
        minimum_cohort: int,
        settings: CoordinatorSettings,
        last_sum: frozenset[str] | None,
        last_asked: frozenset[str] = frozenset(),
        now: datetime,
        common_policies: CommonPolicies = no_common_policies,
    ) -> None:
        self._common_policies = common_policies
        self._dataset = dataset
        self._minimum = minimum_cohort
        self._settings = settings
        self._asked = last_asked
        self._last_sums = {} if last_sum is None else {last_asked: last_sum}
        self._waiting_since = now
        self._excluded: dict[str, str] = {}
        self._left_at: dict[str, datetime] = {}

    def left(self, node: str, *, now: datetime) -> None:
        """A node is gone."""
        self._left_at[node] = now

    def came_back(self, node: str) -> None:
        """A node is present again."""
        self._left_at.pop(node, None)

    def refused(self, node: str, sentence: str) -> None:
        """A node refused an attempt."""
        self._excluded[node] = sentence

    def completed(self, survivors: frozenset[str], *, now: datetime) -> None:
        """A round completed over these nodes."""
        self._last_sums[self._asked] = survivors
        self._excluded.clear()
        self.wait_from(now)

    def wait_from(self, now: datetime) -> None:
        """Begin to wait anew."""
        self._waiting_since = now

    def waited(self, now: datetime) -> float:
        """Seconds since waiting began."""
        return (now - self._waiting_since).total_seconds()

    def roster(
        self, accepted: Collection[str], present: Sequence[Session], *, asked: frozenset[str], now: datetime
    ) -> list[Session] | None:
        """The next round's nodes, or None while it is worth waiting for more.

        Args:
            accepted: nodes that accepted the job.
            present: every node that is present.
            asked: nodes that the round may hold: all of the job's, or those of one group.
            now: the present.

        Raises:
            RefusalError: too few would still take part, or were present for too long a time.
        """
        self._asked = asked
        wanted = (set(accepted) & asked) - set(self._excluded)
        self._require_enough(wanted)
        here = [item for item in present if item.node in wanted]
        missing = wanted - {item.node for item in here}
        unseen = missing - set(self._left_at)
        waited = self.waited(now)
        enough = len(here) >= self._minimum
        waits_for_unseen = bool(unseen) and waited < self._settings.gather_seconds
        if enough and not waits_for_unseen and not self._may_return(missing, now):
            for node in unseen:  # this job has waited for it once; the following rounds need not
                self._left_at[node] = self._waiting_since
            return self._same_cohort(here, asked)
        if not enough and waited >= self._settings.patience_seconds:
            sentence = (
                f"only {len(here)} nodes were present for {int(waited)} seconds and a round needs "
                f"{self._minimum}; start the missing nodes and submit the job again"
            )
            raise RefusalError(sentence)
        return None

    def _same_cohort(self, here: list[Session], asked: frozenset[str]) -> list[Session]:
        """Without those who missed the last sum, where a policy would refuse them beside it.

        A site that comes back makes a sum that differs by one site from those before; without it the job goes on.
        """
        policies = [*self._common_policies(self._dataset), *(policy_for(self._dataset, item) for item in here)]
        last = self._last_sums.get(asked)
        if last is None or not compares_every_round(policies):
            return here
        same = [item for item in here if item.node in last]
        return same if len(same) == len(last) else here

    def _require_enough(self, wanted: Collection[str]) -> None:
        """Refuse to wait for a round that cannot begin because too many nodes refuse to take part in it."""
        if len(wanted) >= self._minimum:
            return
        refusals = " ".join(f"{node}: {sentence}" for node, sentence in sorted(self._excluded.items()))
        sentence = (
            f"a round needs {self._minimum} nodes and {len(wanted)} of those that accepted the job would "
            f"still take part. {refusals}"
        )
        raise RefusalError(sentence)

    def _may_return(self, missing: Collection[str], now: datetime) -> bool:
        """Whether one of ``missing`` left so recently that the round still waits for it."""
        limit = self._settings.return_seconds
        return any((now - self._left_at[node]).total_seconds() < limit for node in missing if node in self._left_at)
