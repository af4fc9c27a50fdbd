"""Federated methods: what one is, the built-in ones, and how a job runs through them."""

from fedseal.methods.choosing import Candidate, Choice, Situation, choose, training_methods
from fedseal.methods.contract import (
    EVALUATION_STAGE,
    NOTHING,
    STATISTICS_STAGE,
    TRAINING_STAGE,
    CohortSum,
    Contribution,
    DisclosureStatement,
    GroupedMethod,
    IndividualMethod,
    Method,
    NodeContext,
    Plan,
    Quantity,
    Stage,
    node_seed,
)
from fedseal.methods.errors import BroadcastRefused, ContributionRefused, MethodUnsuitable
from fedseal.methods.groups import asked_nodes
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
from fedseal.methods.suitability import Need, Suitability

__all__ = [
    "EVALUATION_STAGE",
    "NOTHING",
    "STATISTICS_STAGE",
    "TRAINING_STAGE",
    "BroadcastRefused",
    "Candidate",
    "Choice",
    "CohortSum",
    "Contribution",
    "ContributionRefused",
    "DisclosureStatement",
    "GroupedMethod",
    "IndividualMethod",
    "JobRun",
    "Method",
    "MethodUnsuitable",
    "Need",
    "NodeContext",
    "Plan",
    "Quantity",
    "ReceivedBroadcast",
    "RoundReport",
    "Situation",
    "Stage",
    "Suitability",
    "asked_nodes",
    "choose",
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
    "training_methods",
    "unpack_broadcast",
]
