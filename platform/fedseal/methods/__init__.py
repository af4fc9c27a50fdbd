"""Federated methods: what one is, the built-in ones, and how a job runs through them."""

from fedseal.methods.contract import (
    EVALUATION_STAGE,
    NOTHING,
    STATISTICS_STAGE,
    TRAINING_STAGE,
    CohortSum,
    Contribution,
    DisclosureStatement,
    Method,
    NodeContext,
    Plan,
    Quantity,
    Stage,
    node_seed,
)
from fedseal.methods.errors import BroadcastRefused, ContributionRefused, MethodUnsuitable
from fedseal.methods.in_process import JobRun, RoundReport, run_in_process
from fedseal.methods.programme import (
    ReceivedBroadcast,
    contribute,
    largest_broadcast,
    pack_broadcast,
    programme,
    programme_statement,
    stage_plan,
    unpack_broadcast,
)
from fedseal.methods.registry import make_method, method_class, method_names

__all__ = [
    "EVALUATION_STAGE",
    "NOTHING",
    "STATISTICS_STAGE",
    "TRAINING_STAGE",
    "BroadcastRefused",
    "CohortSum",
    "Contribution",
    "ContributionRefused",
    "DisclosureStatement",
    "JobRun",
    "Method",
    "MethodUnsuitable",
    "NodeContext",
    "Plan",
    "Quantity",
    "ReceivedBroadcast",
    "RoundReport",
    "Stage",
    "contribute",
    "largest_broadcast",
    "make_method",
    "method_class",
    "method_names",
    "node_seed",
    "pack_broadcast",
    "programme",
    "programme_statement",
    "run_in_process",
    "stage_plan",
    "unpack_broadcast",
]
