"""Errors of methods, by blame.

PlatformError
├── SetupError
│   └── MethodUnsuitable     the job asks a method for something it cannot do
├── PeerFault
│   └── BroadcastRefused     what the coordinator sent is not what this round's broadcast must be
└── ContributionRefused      this node's own method or learner gave something that must not leave
"""

from fedseal.errors import PeerFault, PlatformError, SetupError


class MethodUnsuitable(SetupError):
    """The job asks for features, a target or a stage that the method cannot serve."""


class BroadcastRefused(PeerFault):
    """The broadcast of a round is malformed or impossible."""


class ContributionRefused(PlatformError):
    """A contribution of this node is malformed; it is not encoded and does not leave.

    Attributes:
        vector: The vector to blame, or None when the set of names is wrong.
    """

    def __init__(self, sentence: str, *, vector: str | None = None) -> None:
        self.vector = vector
        super().__init__(sentence)
