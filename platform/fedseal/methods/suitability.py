"""What a method is for, in facts that it declares beside its statement; `fedseal.methods.choosing` decides by them.

A method declares, as a class attribute:

    suits: ClassVar[Suitability] = Suitability(
        purpose="what it does differently, as one sentence",
        meets={Need.DIFFERENT_DATA: "how it meets that need"},
        cost="what it costs beside averaging",
    )

What the coordinator learns is not repeated here: it is in the statement.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Need(StrEnum):
    """What a federation may need beside an average of updates."""

    UNTRUSTED_NODES = "untrusted-nodes"
    DIFFERENT_MODELS = "different-models"
    SCARCE_BANDWIDTH = "scarce-bandwidth"
    DIFFERENT_DATA = "different-data"

    @property
    def plain(self) -> str:
        """The need in plain English, to follow "a method for"."""
        return _PLAIN[self]


INDISPENSABLE = frozenset({Need.DIFFERENT_MODELS})
"""Needs without which a method cannot run at all; the others it serves more or less well."""

_PLAIN = {
    Need.UNTRUSTED_NODES: "nodes that may try to spoil the model",
    Need.DIFFERENT_MODELS: "nodes with models of different kinds",
    Need.SCARCE_BANDWIDTH: "scarce bandwidth",
    Need.DIFFERENT_DATA: "nodes whose data differ",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Suitability:
    """Facts by which a method is chosen.

    Attributes:
        purpose: What it does differently from averaging, and when that helps; one or two sentences.
        meets: Needs that it meets, each with the reason as a sentence; what it does not meet is not in it.
        cost: What it costs in bytes, computing, settings or accuracy; one sentence.
        baseline: Whether to try it first where nothing else is asked for.
    """

    purpose: str
    meets: Mapping[Need, str] = field(default_factory=dict)
    cost: str
    baseline: bool = False

    def __post_init__(self) -> None:
        """Refuse a fact that says nothing."""
        if not all(text.strip().endswith(".") for text in (self.purpose, self.cost, *self.meets.values())):
            raise ValueError("purpose, cost and every reason are sentences that end with a full stop")
