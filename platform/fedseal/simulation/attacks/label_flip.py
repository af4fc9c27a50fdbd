"""``label-flip``: wrong labels, images or tables as they are.

With ``source`` and ``target`` rows of one class are given another (Tolpegin et al. 2020); without, every
class y of L is given the class L - 1 - y (Fang et al. 2020). What attackers know: their own rows.
"""

from typing import Annotated, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from fedseal.learning.data import LocalData
from fedseal.simulation.attacks.attack import Attack, Attacker
from fedseal.simulation.attacks.poisoning import chosen, relabelled, require_class, target_column


class LabelFlipSettings(BaseModel):
    """Which labels become which."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Annotated[int | None, Field(ge=0, le=999, description="class to relabel; leave out for every class")] = None
    target: Annotated[int | None, Field(ge=0, le=999, description="its new class; leave out for every class")] = None
    share: Annotated[float, Field(gt=0, le=1, description="of these rows that an attacker relabels")] = 1.0

    @model_validator(mode="after")
    def _both_or_none(self) -> "LabelFlipSettings":
        if (self.source is None) != (self.target is None):
            raise ValueError("write source and target, or neither")
        return self


class LabelFlip(Attack):
    """y := target for rows of the class source; without the two, y := L - 1 - y for rows of each of the L classes."""

    settings: LabelFlipSettings
    name: ClassVar[str] = "label-flip"
    title: ClassVar[str] = "Wrong labels"
    reference: ClassVar[str] = (
        "Tolpegin et al. 2020, Data Poisoning Attacks (ESORICS); Fang et al. 2020 (USENIX Security)"
    )
    knows: ClassVar[str] = "its own rows"
    settings_model: ClassVar[type[BaseModel]] = LabelFlipSettings

    def poison(self, rows: LocalData, attacker: Attacker) -> LocalData:
        """See the module docstring."""
        column = target_column(rows)
        labels, source, target = rows.labels(column), self.settings.source, self.settings.target
        if source is None or target is None:
            eligible, wrong = np.ones(len(labels), dtype=bool), column.classes - 1 - labels
        else:
            require_class(rows, source)
            require_class(rows, target)
            eligible, wrong = labels == source, np.full(len(labels), float(target))
        return relabelled(rows, np.where(chosen(eligible, self.settings.share, attacker.seed), wrong, labels))
