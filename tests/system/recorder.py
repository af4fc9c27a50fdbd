"""Records every message that a coordinator receives, below its own code: a gRPC interceptor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet


@dataclass(frozen=True, slots=True)
class Received:
    """One message: the method it was sent to, and by whom."""

    method: str
    caller: str
    message: Any


@dataclass(slots=True)
class Recorder(grpc.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Keeps what arrives, in order of arrival. Thread-safe."""

    received: list[Received] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the method's handler."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        method = str(handler_call_details.method)
        if handler.request_streaming:
            behaviour = handler.stream_stream if handler.response_streaming else handler.stream_unary
            make = (
                grpc.stream_stream_rpc_method_handler
                if handler.response_streaming
                else grpc.stream_unary_rpc_method_handler
            )
            wrapped: Callable[..., Any] = self._stream(method, behaviour)
        else:
            behaviour = handler.unary_stream if handler.response_streaming else handler.unary_unary
            make = (
                grpc.unary_stream_rpc_method_handler
                if handler.response_streaming
                else grpc.unary_unary_rpc_method_handler
            )
            wrapped = self._unary(method, behaviour)
        result: grpc.RpcMethodHandler[Any, Any] = make(
            wrapped, handler.request_deserializer, handler.response_serializer
        )
        return result

    def _keep(self, method: str, context: grpc.ServicerContext, message: Message) -> None:
        names: Any = context.auth_context().get("x509_common_name", ())
        caller = next((name.decode() for name in names), "")
        with self._lock:
            self.received.append(Received(method.rpartition("/")[2], caller, message))

    def _unary(self, method: str, behaviour: Any) -> Callable[[Message, grpc.ServicerContext], Any]:
        def call(request: Message, context: grpc.ServicerContext) -> Any:
            self._keep(method, context, request)
            return behaviour(request, context)

        return call

    def _stream(self, method: str, behaviour: Any) -> Callable[[Iterator[Message], grpc.ServicerContext], Any]:
        def call(requests: Iterator[Message], context: grpc.ServicerContext) -> Any:
            def kept() -> Iterator[Message]:
                for request in requests:
                    self._keep(method, context, request)
                    yield request

            return behaviour(kept(), context)

        return call


def field_paths(message: Message) -> Iterator[str]:
    """The dotted path of every field that is set; fields of an unknown number as ``?``."""
    if len(UnknownFieldSet(message)):
        yield "?"
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            yield descriptor.name
            continue
        children = value if descriptor.is_repeated else (value,)
        for child in children:
            for path in field_paths(child):
                yield f"{descriptor.name}.{path}"
