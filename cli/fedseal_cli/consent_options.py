"""What the commands of ``fedseal consent`` share."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fedseal.local import LocalParty

DatasetOption = Annotated[str, typer.Option("--dataset", help="The dataset whose records the pseudonyms are.")]
PseudonymArgument = Annotated[
    str, typer.Argument(metavar="PSEUDONYM", help="The record's pseudonym, or - to read it from standard input.")
]


def typed_pseudonym(given: str) -> str:
    """A pseudonym as it was given, or from standard input."""
    # Arguments can be seen by other users of the machine; standard input cannot.
    return sys.stdin.readline(1024).strip() if given == "-" else given


def require_known_dataset(party: "LocalParty", dataset: str) -> None:
    """Refuse a dataset of which this node knows nothing: a slip of the pen must not read as "was never used".

    Raises:
        NotFound: it is not registered here, and no consent was ever entered for it.
    """
    from fedseal_governance.consent import datasets_known
    from fedseal_governance.datasets import list_registered
    from fedseal_governance.documents import suggestion
    from fedseal_governance.errors import NotFound

    known = party.read(lambda session: {item.name for item in list_registered(session)} | datasets_known(session))
    if dataset not in known:
        near = suggestion(dataset, sorted(known))
        hint = f"did you mean {near}?" if near else "see `fedseal dataset list`"
        raise NotFound(f"this node knows no dataset {dataset}; {hint}")
