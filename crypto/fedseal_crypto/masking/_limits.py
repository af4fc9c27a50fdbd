"""What a node itself demands of a round, whatever the server proposes."""

from dataclasses import dataclass
from typing import final

from fedseal_crypto.masking._errors import ParametersInvalid, Violation, WeakParameters
from fedseal_crypto.masking._graph_finder import GraphRequest, private_threshold, stays_connected
from fedseal_crypto.masking._members import COORDINATOR
from fedseal_crypto.masking._parameters import RoundParameters
from fedseal_crypto.masking._states import Step
from fedseal_crypto.masking._thresholds import COMPLETE_GRAPH_LIMIT, complete_threshold, corrupted_members


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """From the node's policy and the job it accepted.

    Attributes:
        minimum_cohort: Contributions that a sum must have, at least 3.
        corrupted_fraction: γ, in [0, 1): members that may collude with the server.
        dropout_fraction: δ, in [0, 1): members that may leave; shapes the sparse graph.
        minimum_difference: Two sums over the same broadcast must have the same contributors, or differ by at
            least this many; at least 2. Two more than may collude are needed in any case. See `_survivors`.

    Raises:
        ParametersInvalid: One is out of range.
    """

    minimum_cohort: int = 3
    corrupted_fraction: float = 0.2
    dropout_fraction: float = 0.1
    minimum_difference: int = 3

    def __post_init__(self) -> None:
        if self.minimum_cohort < 3:
            raise ParametersInvalid(
                f"a minimum cohort of {self.minimum_cohort} protects nobody: of two contributors each learns the "
                "other's input. Use 3 or more."
            )
        if self.minimum_difference < 2:
            raise ParametersInvalid(
                f"a minimum difference of {self.minimum_difference} lets the difference of two sums be one "
                "member's input. Use 2 or more."
            )
        if not (0 <= self.corrupted_fraction < 1 and 0 <= self.dropout_fraction < 1):
            raise ParametersInvalid("corrupted and dropout fractions must be at least 0 and below 1.")


def check_strength(parameters: RoundParameters, limits: ClientLimits) -> None:
    """Refuse parameters that protect less than the node computes itself; stronger ones are welcome.

    Raises:
        WeakParameters: Cohort, corruption, threshold or neighbours are too low.
    """
    n = len(parameters.roster)
    corrupted = corrupted_members(n, limits.corrupted_fraction)
    _at_least("minimum cohort", parameters.minimum_cohort, limits.minimum_cohort)
    _at_least("number of corrupted members", parameters.corrupted, corrupted)
    if parameters.neighbours is None:
        _at_least("threshold", parameters.threshold, complete_threshold(n, parameters.corrupted))
        return
    if n <= COMPLETE_GRAPH_LIMIT:
        raise _weak("a sparse graph", f"the complete graph for up to {COMPLETE_GRAPH_LIMIT} members")
    request = GraphRequest(n=n, corrupted=parameters.corrupted, dropouts=int(limits.dropout_fraction * n))
    if not stays_connected(request, parameters.neighbours):
        raise _weak(f"{parameters.neighbours} neighbours", "enough that honest members stay connected")
    _at_least("threshold", parameters.threshold, private_threshold(request, parameters.neighbours))


def _at_least(name: str, got: int, expected: int) -> None:
    if got < expected:
        raise _weak(f"a {name} of {got}", f"at least {expected}")


def _weak(got: str, expected: str) -> WeakParameters:
    return WeakParameters(Violation(step=Step.ADVERTISE, party=COORDINATOR, got=got, expected=expected))
