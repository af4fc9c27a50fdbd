"""Errors of the governance layer, split by who is to blame.

    GovernanceError
    ├── DocumentError        a file that a person wrote cannot be accepted
    ├── RefusedError         a rule (policy, consent, role, state) forbids the request
    │   ├── NotFound         the record that was named does not exist
    │   ├── AlreadyDone      the same thing was done before and may not be done twice
    │   └── WrongState       the record is in a state that does not allow this step
    ├── TamperError          stored or exported evidence does not verify
    └── StorageError         the database is missing, unknown, locked or full

Every message is one sentence that names the file or record, the field, the value and the remedy.
Text from outside is shown shortened and with control characters escaped, so that it cannot forge log lines.
"""

from dataclasses import dataclass

_SHOWN_CHARACTERS = 60


def shown(value: object) -> str:
    """Render a foreign ``value`` for a message: one line, at most 60 characters, nothing unprintable."""
    text = value if isinstance(value, str) else repr(value)
    clean = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return clean if len(clean) <= _SHOWN_CHARACTERS else clean[: _SHOWN_CHARACTERS - 1] + "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with a document.

    Attributes:
        file: name of the file as the person gave it.
        line: line counted from 1, or None when the problem concerns the file as a whole.
        column: column counted from 1, where the key (or the item of a list) begins; None as for the line.
        field: dotted path of the field, empty for the file as a whole.
        value: the offending value as shown to the person, or None.
        fault: what is wrong, without final punctuation.
        remedy: what to do, without final full stop.
    """

    file: str
    fault: str
    remedy: str
    line: int | None = None
    field: str = ""
    value: str | None = None
    column: int | None = None

    @property
    def sentence(self) -> str:
        """The problem as one sentence."""
        place = self.file if self.line is None else f"{self.file}, line {self.line}"
        stop = "" if self.remedy.endswith("?") else "."
        return f"{place}: {self.fault}; {self.remedy}{stop}"


class GovernanceError(Exception):
    """Root of every error raised by ``fedseal_governance``."""


class DocumentError(GovernanceError):
    """A policy, job, schema, consent or configuration file cannot be accepted.

    Attributes:
        problems: everything found wrong, in the order of the file; the message has one sentence a line.
    """

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(problem.sentence for problem in problems))
        self.problems = problems


class RefusedError(GovernanceError):
    """A rule forbids what was asked; nothing was changed."""


class NotFound(RefusedError):
    """The record that was named does not exist."""


class AlreadyDone(RefusedError):
    """The same thing was done before and may not be done twice."""


class WrongState(RefusedError):
    """The record is in a state that does not allow this step.

    Attributes:
        current: the state the record is in.
        wanted: the state that was asked for.
    """

    def __init__(self, sentence: str, *, current: str, wanted: str) -> None:
        super().__init__(sentence)
        self.current = current
        self.wanted = wanted


class TamperError(GovernanceError):
    """Evidence does not verify: an entry, proof, checkpoint or signature is wrong."""


class StorageError(GovernanceError):
    """The database cannot be used as it is."""
