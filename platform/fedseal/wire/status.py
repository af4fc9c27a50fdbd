"""The one table between typed errors and gRPC status codes, used in both directions.

A server aborts a call with the code of the error's class and its sentence; a client turns the status back
into a ``RemoteError`` that carries the same sentence. Anything that is not one of our errors becomes
``INTERNAL`` without its text, which goes to the server's own log only.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

import grpc
import structlog

from fedseal.errors import ClockBehind, PeerFault, PlatformError, RefusalError, RemoteError, SetupError
from fedseal.wire.limits import TEXT_CHARACTERS
from fedseal_crypto.certificates import RevocationListStale
from fedseal_crypto.errors import CryptoError, MisuseError
from fedseal_governance.errors import DocumentError, GovernanceError, RefusedError, StorageError, TamperError

_log = structlog.get_logger(__name__)

_CODES: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    # The first match counts, so subclasses come before their roots.
    (PeerFault, grpc.StatusCode.INVALID_ARGUMENT),
    (RefusalError, grpc.StatusCode.FAILED_PRECONDITION),
    (RefusedError, grpc.StatusCode.FAILED_PRECONDITION),
    (DocumentError, grpc.StatusCode.INVALID_ARGUMENT),
    (TamperError, grpc.StatusCode.DATA_LOSS),
    (StorageError, grpc.StatusCode.UNAVAILABLE),
    # The server's own list is out of date: nothing is wrong with the caller, and later it may be accepted.
    (RevocationListStale, grpc.StatusCode.ABORTED),
    (ClockBehind, grpc.StatusCode.ABORTED),
    (SetupError, grpc.StatusCode.INTERNAL),
    (MisuseError, grpc.StatusCode.INTERNAL),
    (CryptoError, grpc.StatusCode.INVALID_ARGUMENT),
    (GovernanceError, grpc.StatusCode.FAILED_PRECONDITION),
    (PlatformError, grpc.StatusCode.FAILED_PRECONDITION),
    # A full disk, say: the caller tries again.
    (OSError, grpc.StatusCode.UNAVAILABLE),
)

Handler = TypeVar("Handler", bound=Callable[..., Any])


class Unreachable(RemoteError):
    """The other party did not answer; trying again later may help."""


class HandshakeFailed(Unreachable):
    """Whoever listens at the address is not that party of this federation, or a certificate is not valid now."""


class CallRefused(RemoteError):
    """The other party answered with a refusal; the sentence is its own."""

    def __init__(self, sentence: str, code: grpc.StatusCode) -> None:
        super().__init__(sentence)
        self.code = code


def status_of(error: Exception) -> grpc.StatusCode:
    """Status code for an error of ours; ``INTERNAL`` for anything else."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return grpc.StatusCode.INTERNAL


def _abort(context: grpc.ServicerContext, error: Exception, method: str) -> NoReturn:
    code = status_of(error)
    if isinstance(error, (PlatformError, CryptoError, GovernanceError)):
        _log.info("call refused", method=method, code=code.name, sentence=str(error))
        context.abort(code, str(error)[:TEXT_CHARACTERS])
    if isinstance(error, grpc.RpcError):
        _log.info("caller went away", method=method)
        context.abort(grpc.StatusCode.CANCELLED, "the caller went away")
    if isinstance(error, OSError):
        _log.error("call failed", method=method, sentence=str(error))
        context.abort(code, "the other party cannot use its disk now")
    _log.error("call failed", method=method, error=type(error).__name__, exc_info=error)
    context.abort(code, "internal error; the other party's log has the details")
    raise AssertionError  # abort always raises


def guarded(handler: Handler) -> Handler:
    """Wrap a unary or client-streaming servicer method so that every error leaves through the table."""

    @functools.wraps(handler)
    def call(self: object, request: object, context: grpc.ServicerContext) -> Any:
        try:
            return handler(self, request, context)
        except Exception as error:
            if _is_abort(error):
                raise
            _abort(context, error, handler.__name__)

    return call  # type: ignore[return-value]  # functools.wraps loses the exact signature


def guarded_stream(handler: Handler) -> Handler:
    """As ``guarded``, for methods that answer with a stream."""

    @functools.wraps(handler)
    def call(self: object, request: object, context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            yield from handler(self, request, context)
        except Exception as error:
            if _is_abort(error):
                raise
            _abort(context, error, handler.__name__)

    return call  # type: ignore[return-value]  # functools.wraps loses the exact signature


def _is_abort(error: Exception) -> bool:
    # grpc raises a bare Exception from context.abort to unwind the handler
    return type(error) is Exception and not error.args


_RETRYABLE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})


def from_rpc_error(error: grpc.RpcError, party: str) -> RemoteError:
    """The typed error for a failed call to ``party`` (a name or address for the sentence)."""
    code = error.code()
    details = str(error.details() or "")[:TEXT_CHARACTERS]
    if code in _RETRYABLE:
        if _is_handshake(details):
            sentence = (
                f"the TLS handshake with {party} failed: it belongs to another federation, or a certificate is not "
                "valid now; check the address, both certificates and the clock"
            )
            return HandshakeFailed(sentence)
        word = code.name.lower().replace("_", " ")
        sentence = f"{party} cannot be reached ({word}: {_brief(details)}); check its address and that it runs"
        return Unreachable(sentence)
    return CallRefused(details or f"{party} refused the call ({code.name})", code)


def _is_handshake(details: str) -> bool:
    lowered = details.lower()
    return "certificate" in lowered or "handshake" in lowered or "ssl" in lowered


def _brief(details: str) -> str:
    return details.splitlines()[0][:200] if details else "no answer"
