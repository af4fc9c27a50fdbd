"""The table between errors and status codes: each class has the code that its blame asks for, there and back."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

import grpc
import pytest

from fedseal.errors import PeerFault, PlatformError, RefusalError, RemoteError, SetupError
from fedseal.learning import DatasetError
from fedseal.methods import BroadcastRefused
from fedseal.wire.limits import TEXT_CHARACTERS
from fedseal.wire.status import CallRefused, Unreachable, from_rpc_error, guarded, guarded_stream, status_of
from fedseal_crypto.certificates import CertificateRevoked, RevocationListStale
from fedseal_crypto.errors import CryptoError, MisuseError, PeerError
from fedseal_crypto.masking import RoundFailed
from fedseal_governance.audit import AuditError
from fedseal_governance.errors import (
    AlreadyDone,
    DocumentError,
    GovernanceError,
    NotFound,
    Problem,
    RefusedError,
    StorageError,
    TamperError,
    WrongState,
)

CODE = grpc.StatusCode
TABLE: list[tuple[Exception, grpc.StatusCode]] = [
    (PeerFault("x"), CODE.INVALID_ARGUMENT),
    (BroadcastRefused("x"), CODE.INVALID_ARGUMENT),
    (RefusalError("x"), CODE.FAILED_PRECONDITION),
    (RefusedError("x"), CODE.FAILED_PRECONDITION),
    (NotFound("x"), CODE.FAILED_PRECONDITION),
    (AlreadyDone("x"), CODE.FAILED_PRECONDITION),
    (WrongState("x", current="a", wanted="b"), CODE.FAILED_PRECONDITION),
    (DocumentError(Problem(file="f", fault="a", remedy="b")), CODE.INVALID_ARGUMENT),
    (TamperError("x"), CODE.DATA_LOSS),
    (AuditError("x"), CODE.DATA_LOSS),
    (StorageError("x"), CODE.UNAVAILABLE),
    (SetupError("x"), CODE.INTERNAL),
    (DatasetError("f", "x"), CODE.INTERNAL),
    (MisuseError("x"), CODE.INTERNAL),
    (PeerError("x"), CODE.INVALID_ARGUMENT),
    (CertificateRevoked("x", party="node/a"), CODE.INVALID_ARGUMENT),
    (RevocationListStale("x"), CODE.ABORTED),
    (RoundFailed("x", step="mask", present=1, needed=3), CODE.INVALID_ARGUMENT),
    (CryptoError("x"), CODE.INVALID_ARGUMENT),
    (RemoteError("x"), CODE.FAILED_PRECONDITION),
    (GovernanceError("x"), CODE.FAILED_PRECONDITION),
    (PlatformError("x"), CODE.FAILED_PRECONDITION),
    (ValueError("x"), CODE.INTERNAL),
    (OSError("x"), CODE.UNAVAILABLE),
]


@pytest.mark.parametrize(("error", "code"), TABLE, ids=lambda item: type(item).__name__)
def test_each_error_has_its_code(error: Exception, code: grpc.StatusCode) -> None:
    assert status_of(error) is code


class Aborted(Exception):
    """Stands for the bare exception with which grpc leaves a handler."""


@dataclass
class Context:
    """What a handler is given of a call."""

    aborted: list[tuple[grpc.StatusCode, str]] = field(default_factory=list)

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        self.aborted.append((code, details))
        raise Aborted


class Servicer:
    """Handlers that fail as they are told."""

    @guarded
    def call(self, request: Exception | str, _context: object) -> str:
        if isinstance(request, Exception):
            raise request
        return request

    @guarded_stream
    def stream(self, request: Exception | str, _context: object) -> Iterator[str]:
        yield "first"
        if isinstance(request, Exception):
            raise request


@pytest.mark.parametrize(("error", "code"), TABLE, ids=lambda item: type(item).__name__)
def test_an_error_leaves_a_handler_through_the_table(error: Exception, code: grpc.StatusCode) -> None:
    for method in ("call", "stream"):
        context = Context()
        with pytest.raises(Aborted):
            list(getattr(Servicer(), method)(error, context))
        [(sent, details)] = context.aborted
        assert sent is code
        if isinstance(error, PlatformError | CryptoError | GovernanceError):
            assert details == str(error)
        elif isinstance(error, OSError):
            assert details == "the other party cannot use its disk now"
        else:
            assert details == "internal error; the other party's log has the details"


def test_what_is_not_ours_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    """A traceback or a path inside an unexpected error stays on this machine."""
    caplog.set_level(logging.DEBUG)
    context = Context()
    with pytest.raises(Aborted):
        Servicer().call(KeyError("/etc/fedseal/secret"), context)
    assert "secret" not in context.aborted[0][1]


def test_an_abort_inside_a_handler_is_left_alone() -> None:
    """grpc unwinds a handler with a bare Exception."""
    for method in ("call", "stream"):
        context = Context()
        with pytest.raises(Exception) as caught:  # noqa: PT011 - exactly this class
            list(getattr(Servicer(), method)(Exception(), context))
        assert type(caught.value) is Exception
        assert context.aborted == []


def test_a_sentence_has_a_limit() -> None:
    context = Context()
    with pytest.raises(Aborted):
        Servicer().call(PeerFault("x" * 100_000), context)
    assert len(context.aborted[0][1]) == TEXT_CHARACTERS


def test_answers_pass_unchanged() -> None:
    assert Servicer().call("answer", Context()) == "answer"
    assert list(Servicer().stream("", Context())) == ["first"]


# --- back ---------------------------------------------------------------------------------------------


class Failed(grpc.RpcError):
    """A failed call as the client sees it."""

    def __init__(self, code: grpc.StatusCode, details: str | None) -> None:
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str | None:
        return self._details


@pytest.mark.parametrize("code", [code for code in CODE if code is not CODE.OK])
def test_a_status_becomes_an_error_with_the_same_sentence(code: grpc.StatusCode) -> None:
    error = from_rpc_error(Failed(code, "the round is over"), "the coordinator")
    assert isinstance(error, RemoteError)
    assert "the round is over" in str(error)
    if code in (CODE.UNAVAILABLE, CODE.DEADLINE_EXCEEDED, CODE.CANCELLED):
        assert isinstance(error, Unreachable)
        assert "check its address and that it runs" in str(error)
    else:
        assert isinstance(error, CallRefused)
        assert error.code is code
        assert str(error) == "the round is over"


@pytest.mark.parametrize(("error", "code"), TABLE, ids=lambda item: type(item).__name__)
def test_there_and_back(error: Exception, code: grpc.StatusCode) -> None:
    """Storage that fails, a full disk included, is what a caller tries again by itself."""
    back = from_rpc_error(Failed(code, str(error)), "the coordinator")
    assert isinstance(back, Unreachable) == isinstance(error, StorageError | OSError)


@pytest.mark.parametrize(
    ("details", "says"),
    [
        ("Ssl handshake failed: SSL_ERROR_SSL", "the TLS handshake with the coordinator at host:1 failed"),
        ("CERTIFICATE_VERIFY_FAILED", "the TLS handshake with the coordinator at host:1 failed"),
        (None, "no answer"),
        ("", "no answer"),
        ("failed to connect\nto all addresses", "failed to connect;|failed to connect\\)"),
    ],
)
def test_an_unreachable_party_is_described_in_a_line(details: str | None, says: str) -> None:
    error = from_rpc_error(Failed(CODE.UNAVAILABLE, details), "the coordinator at host:1")
    with pytest.raises(Unreachable, match=says):
        raise error
    assert "\n" not in str(error)


def test_a_refusal_without_a_sentence_still_has_one() -> None:
    assert (
        str(from_rpc_error(Failed(CODE.PERMISSION_DENIED, ""), "the hub"))
        == "the hub refused the call (PERMISSION_DENIED)"
    )
