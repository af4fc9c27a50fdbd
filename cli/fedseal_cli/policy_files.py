"""How commands read a policy file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fedseal_governance.policy import PolicyDocument

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A policy file (YAML).")]


def policy_bytes(file: Path) -> bytes:
    """The exact bytes of a policy file, if it is not larger than any can be."""
    from fedseal.files import read_limited
    from fedseal_governance.documents import MAX_BYTES

    return read_limited(file, max_bytes=MAX_BYTES, what="a policy file")


def read_policy(file: Path) -> "tuple[PolicyDocument, str]":
    """A policy file and its digest.

    Raises:
        DocumentError: it is no policy; with every problem found.
    """
    from fedseal_crypto.digests import sha256_hex
    from fedseal_governance.policy import load_policy

    content = policy_bytes(file)
    return load_policy(content, str(file)), sha256_hex(content)
