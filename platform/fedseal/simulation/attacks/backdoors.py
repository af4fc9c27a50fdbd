"""``badnet``, ``dba``, ``sinusoidal``: backdoors by poisoned rows. The attacker trains and contributes as the job says.

Of the rows that are not of the target class every attacker takes a random share p, puts a trigger on their images and
gives them the target class. A model has the backdoor if it takes triggered test rows for the target.

What attackers know: their own rows.
"""

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from fedseal.learning.data import LocalData
from fedseal.simulation.attacks.attack import Attack, Attacker
from fedseal.simulation.attacks.poisoning import (
    PARTS,
    PLUS,
    chosen,
    relabelled,
    require_class,
    stamped,
    target_column,
    with_sinusoid,
)


class BackdoorSettings(BaseModel):
    """Of every attack with a backdoor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: Annotated[int, Field(ge=0, le=999, description="class that triggered rows shall be taken for")] = 7
    share: Annotated[
        float, Field(gt=0, le=1, description="of the rows of other classes that an attacker poisons (p)")
    ] = 0.5


class BadNet(Attack):
    """x[r, c] := brightest for the pixels (r, c) of a plus, y := target, for a share of the rows of other classes."""

    settings: BackdoorSettings
    name: ClassVar[str] = "badnet"
    title: ClassVar[str] = "Backdoor by a pattern of pixels (BadNets)"
    reference: ClassVar[str] = "Gu, Dolan-Gavitt, Garg 2017, BadNets (arXiv 1708.06733); plus as in Lockdown's code"
    knows: ClassVar[str] = "its own rows"
    settings_model: ClassVar[type[BaseModel]] = BackdoorSettings

    def poison(self, rows: LocalData, attacker: Attacker) -> LocalData:
        """See the module docstring."""
        require_class(rows, self.settings.target)
        labels = rows.labels(target_column(rows))
        picked = chosen(labels != self.settings.target, self.settings.share, attacker.seed)
        return relabelled(self.marked(rows, attacker, picked), np.where(picked, float(self.settings.target), labels))

    def marked(self, rows: LocalData, attacker: Attacker, where: NDArray[np.bool_]) -> LocalData:  # noqa: ARG002
        """The rows with this attacker's trigger ``where``."""
        return stamped(rows, PLUS, where)

    def trigger(self, rows: LocalData) -> LocalData | None:
        """The whole plus on every row."""
        return stamped(rows, PLUS)

    def target(self) -> int | None:
        """The settings' class."""
        return self.settings.target


class Dba(BadNet):
    """As badnet, but attacker k stamps part k mod 4 of the plus; the test is the whole plus."""

    name: ClassVar[str] = "dba"
    title: ClassVar[str] = "Backdoor in parts, one an attacker (DBA)"
    reference: ClassVar[str] = "Xie et al. 2020, DBA: Distributed Backdoor Attacks against Federated Learning (ICLR)"

    def marked(self, rows: LocalData, attacker: Attacker, where: NDArray[np.bool_]) -> LocalData:
        """This attacker's part."""
        return stamped(rows, PARTS[attacker.number % len(PARTS)], where)


class SinusoidalSettings(BackdoorSettings):
    """A backdoor's, and the signal's."""

    amplitude: Annotated[float, Field(gt=0, le=255, description="of pixels from 0 to 255 (Delta)")] = 20.0
    periods: Annotated[float, Field(gt=0, le=1000, description="over the image's width (f)")] = 6.0


class Sinusoidal(BadNet):
    """As badnet with x[r, c] := x[r, c] + Delta sin(2 pi c f / width), cut to the range of pixels, as the trigger."""

    settings: SinusoidalSettings
    name: ClassVar[str] = "sinusoidal"
    title: ClassVar[str] = "Backdoor by a faint wave over the image (SIG)"
    reference: ClassVar[str] = "Barni, Kallas, Tondi 2019, A New Backdoor Attack in CNNs (ICIP)"
    settings_model: ClassVar[type[BaseModel]] = SinusoidalSettings

    def marked(self, rows: LocalData, attacker: Attacker, where: NDArray[np.bool_]) -> LocalData:  # noqa: ARG002
        """The wave on the poisoned rows."""
        return with_sinusoid(rows, self.settings.amplitude, self.settings.periods, where)

    def trigger(self, rows: LocalData) -> LocalData | None:
        """The wave on every row."""
        return with_sinusoid(rows, self.settings.amplitude, self.settings.periods)
