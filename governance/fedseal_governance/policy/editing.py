"""A job with some of its fields changed, as a person would change them in the file."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from fedseal_governance.errors import RefusedError, shown
from fedseal_governance.jobs import JobDocument


def edited(job: JobDocument, changes: Mapping[str, object]) -> JobDocument:
    """``job`` with other values.

    Args:
        job: what to start from; stays as it is.
        changes: new values by dotted key, such as ``method.rounds``; None removes a key.

    Raises:
        RefusedError: a key does not exist, or the result is no valid job; the sentence names the key.
    """
    tree = job.model_dump(mode="json")
    for path, value in changes.items():
        _set(tree, path, value)
    try:
        return JobDocument.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(step) for step in first["loc"]) or ", ".join(changes)
        raise RefusedError(f"with {shown(key)} changed this way the job is not valid: {first['msg']}") from None


def _set(tree: dict[str, Any], path: str, value: object) -> None:
    *outer, last = path.split(".")
    inner: Any = tree
    for key in outer:
        inner = inner.get(key) if isinstance(inner, dict) else None
    # Settings take any name; everywhere else a name that is not there is a misspelling.
    if not isinstance(inner, dict) or (last not in inner and outer[-1:] != ["settings"]):
        raise RefusedError(f"the job has no `{shown(path)}` that could be changed")
    inner[last] = value
