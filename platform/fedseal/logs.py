"""Structured logs: for people in a terminal, JSON lines otherwise.

Logs are for operators; evidence goes to the audit log. A processor drops every value under a key that names
a secret, as a second line of defence: the secret types of this project never print themselves.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

_SECRET_KEYS = frozenset({"token", "passphrase", "password", "private_key", "secret", "share", "seed", "mask"})


def _without_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in event:
        if key in _SECRET_KEYS:
            event[key] = "[redacted]"
    return event


def configure(*, verbose: bool = False, stream: TextIO | None = None) -> None:
    """Set the process's logging up; call once, at the start of a service."""
    target = stream or sys.stderr
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_secrets,
    ]
    if target.isatty():
        processors.append(structlog.dev.ConsoleRenderer())
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=target),
        cache_logger_on_first_use=True,
    )
