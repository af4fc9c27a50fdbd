"""Words that policies, jobs and methods share, and the names of things.

The values of the enumerations are the words people write in YAML files; they never change their meaning.
"""

from enum import Enum, StrEnum
from functools import total_ordering
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError


@total_ordering
class Disclosure(Enum):
    """What the coordinator learns beside the published result, from least to most.

    ``SUM < GROUP_SUMS < SCALARS < INDIVIDUAL``: compare members to ask whether one stays within another.
    """

    SUM = "SUM"
    GROUP_SUMS = "GROUP_SUMS"
    SCALARS = "SCALARS"
    INDIVIDUAL = "INDIVIDUAL"

    @property
    def plain(self) -> str:
        """The level in plain English, to follow "the coordinator may learn"."""
        return _DISCLOSURE_PLAIN[self]

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Disclosure):
            return NotImplemented
        order = list(Disclosure)
        return order.index(self) < order.index(other)


_DISCLOSURE_PLAIN = {
    Disclosure.SUM: "only sums over all participating sites",
    Disclosure.GROUP_SUMS: "sums over groups of sites",
    Disclosure.SCALARS: "single named figures of each site, besides sums",
    Disclosure.INDIVIDUAL: "what each site contributed",
}


class Protection(StrEnum):
    """How contributions are protected on their way into the sum."""

    MASKING = "masking"
    HOMOMORPHIC = "homomorphic"
    HYBRID = "hybrid"
    NONE = "none"

    @property
    def plain(self) -> str:
        """The protection in plain English."""
        return _PROTECTION_PLAIN[self]

    @property
    def has_custodian(self) -> bool:
        """Whether contributions are encrypted under the key of a custodian."""
        return self in (Protection.HOMOMORPHIC, Protection.HYBRID)


_PROTECTION_PLAIN = {
    Protection.MASKING: "masks that cancel in the sum",
    Protection.HOMOMORPHIC: "encryption that allows adding, with a separate custodian of the key",
    Protection.HYBRID: "masks inside encryption",
    Protection.NONE: "no protection against the coordinator",
}


class JobKind(StrEnum):
    """What a job produces."""

    TRAINING = "training"
    STATISTICS = "statistics"

    @property
    def plain(self) -> str:
        """The kind in plain English."""
        return "training a model" if self is JobKind.TRAINING else "computing statistics"


class PolicyLevel(StrEnum):
    """For whom a policy speaks: one data holder, or the federation as a whole."""

    NODE = "node"
    FEDERATION = "federation"


class PrivacyMechanism(StrEnum):
    """Noise added so that the result says little about any one person."""

    NONE = "none"


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
"""Name of a party, dataset, job, policy, method or learner: 1 to 63 of ``[a-z0-9._-]``."""

ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^\S(.*\S)?$")]
"""Name of a column as it stands in the header of the data file."""


def _one_line(text: str) -> str:
    if not text.isprintable():
        told = {"what": "the text has a line break or an invisible character", "remedy": "remove it", "key": None}
        raise PydanticCustomError("fedseal", "{what}", told)
    return text


Sentence = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_one_line)]
"""A short text for people, of one line: it is shown among other text and must not look like more of that."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 digest in lower-case hexadecimal."""

SettingScalar = bool | int | float | str
Setting = SettingScalar | Annotated[tuple[SettingScalar, ...], Field(max_length=100)]
"""A value in a method's or learner's ``settings``; a list holds plain values only."""

Settings = Annotated[dict[Name, Setting], Field(max_length=50)]
"""Settings by name; the method or learner checks what they mean."""
