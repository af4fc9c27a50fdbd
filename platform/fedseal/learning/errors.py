"""Errors of data loading, training and model files, by blame.

    PlatformError
    ├── SetupError
    │   ├── DatasetError      a file at this node is not the dataset that its schema describes
    │   ├── UnknownPlugin     a method or learner that is not installed here
    │   └── SettingsRefused   a method or learner does not take these settings
    ├── PeerFault
    │   └── TensorsRefused    tensors or a model file from elsewhere fail a check
    └── TrainingFailed        local training gave NaN, diverged, or has nothing to learn from

Sentences name file, line and column, never a cell's content: it may be a patient's, and refusals travel.
"""

from fedseal.errors import PeerFault, PlatformError, SetupError


class DatasetError(SetupError):
    """A dataset file does not fit its schema.

    Attributes:
        source: The file, as shown to people.
        line: 1-based line of the file, when one line is to blame.
        column: The column, when one is to blame.
    """

    def __init__(self, source: str, fault: str, *, line: int | None = None, column: str | None = None) -> None:
        self.source = source
        self.line = line
        self.column = column
        place = "".join(
            (source, f", line {line}" if line is not None else "", f', column "{column}"' if column else "")
        )
        super().__init__(f"{place}: {fault}")


class TensorsRefused(PeerFault):
    """Named tensors, or a file of them, are not what was agreed."""


class TrainingFailed(PlatformError):
    """Local training cannot give a usable result."""


class UnknownPlugin(SetupError):
    """A method or learner is not installed at this party.

    Attributes:
        kind: ``"method"`` or ``"learner"``.
        name: The name that was asked for.
    """

    def __init__(self, kind: str, name: str, known: tuple[str, ...], nearest: str | None) -> None:
        self.kind = kind
        self.name = name
        hint = f'; did you mean "{nearest}"?' if nearest else f"; installed: {', '.join(known) or 'none'}."
        super().__init__(f'The {kind} "{name}" is not installed here{hint}')


class SettingsRefused(SetupError):
    """A method or learner does not take the settings that it was given."""
