"""The custodian's calls to its coordinator: attend, decline, publish a key, fetch ciphertexts, deliver a sum.

Every call is safe to repeat: the coordinator treats byte-identical repetitions as one. They therefore wait for
the coordinator to come back and try again until they are answered or the custodian stops.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import grpc
from tenacity import Retrying, retry_if_exception_type, stop_when_event_set, wait_random_exponential

from fedseal.folders import TlsMaterial
from fedseal.rounds import RoundAddress
from fedseal.wire import chunks, tls
from fedseal.wire._generated import custody_pb2 as pb
from fedseal.wire._generated.custody_pb2_grpc import CustodyStub
from fedseal.wire.custody import address_to_wire
from fedseal.wire.status import Unreachable, from_rpc_error

_CALL_SECONDS = 30.0
_TRANSFER_SECONDS = 600.0
_LONGEST_WAIT_SECONDS = 5.0

Answer = TypeVar("Answer")


class CustodyConnection:
    """One mutual-TLS channel to the coordinator. Thread-safe, as gRPC channels are."""

    def __init__(self, *, address: str, service_name: str, material: TlsMaterial, stopping: threading.Event) -> None:
        self._address = address
        self._stopping = stopping
        self._service_name = service_name
        self._channel = tls.open_channel(address, material, service_name=service_name)
        self._stub = CustodyStub(self._channel)

    def renew(self, material: TlsMaterial) -> None:
        """Go on with another certificate; calls under way are broken off, and those that persist try again."""
        former = self._channel
        self._channel = tls.open_channel(self._address, material, service_name=self._service_name)
        self._stub = CustodyStub(self._channel)
        former.close()

    def close(self) -> None:
        """End every call and the channel."""
        self._channel.close()

    def attend(self, attendance: pb.CustodianAttendance) -> Iterator[pb.CustodianTask]:
        """Open the task stream; ends or raises ``RemoteError`` when it breaks.

        Raises:
            Unreachable: the coordinator cannot be reached.
            CallRefused: it does not accept this custodian; the sentence says why.
        """
        call = self._stub.Attend(attendance)
        watcher = threading.Thread(target=self._cancel_at_stop, args=(call,), daemon=True)
        watcher.start()
        try:
            yield from call
        except grpc.RpcError as error:
            if not self._stopping.is_set():
                raise from_rpc_error(error, self._name) from error
        finally:
            call.cancel()  # type: ignore[no-untyped-call]  # grpc-stubs leave it untyped

    def decline(self, declination: pb.Declination) -> None:
        """Deliver a refusal; returns when the coordinator has stored it.

        Raises:
            CallRefused: the coordinator does not take it, for example because the job is over.
        """
        self._persist(lambda: self._stub.Decline(declination, timeout=_CALL_SECONDS))

    def publish_key(self, header: pb.KeyHeader, pieces: Callable[[], Iterator[bytes]]) -> None:
        """Upload a public key; ``pieces`` is called again for each attempt at the transfer."""

        def parts() -> Iterator[pb.KeyPart]:
            yield pb.KeyPart(header=header)
            for piece in pieces():
                yield pb.KeyPart(data=piece)

        self._persist(lambda: self._stub.PublishKey(parts(), timeout=_TRANSFER_SECONDS))

    def fetch_ciphertext(self, address: RoundAddress, member: str, *, size: int, target: Path) -> None:
        """Fetch one member's ciphertext of exactly ``size`` bytes.

        Raises:
            PeerFault: what arrives is shorter or longer.
        """

        def fetch() -> str:
            request = pb.CiphertextRequest(address=address_to_wire(address), member=member)
            stream = self._stub.FetchCiphertext(request, timeout=_TRANSFER_SECONDS)
            return chunks.receive((piece.data for piece in stream), target, size=size)

        self._persist(fetch)

    def deliver_sum(self, header: pb.SumHeader, pieces: Callable[[], Iterator[bytes]]) -> None:
        """Upload an opened sum; ``pieces`` is called again for each attempt at the transfer."""

        def parts() -> Iterator[pb.SumPart]:
            yield pb.SumPart(header=header)
            for piece in pieces():
                yield pb.SumPart(data=piece)

        self._persist(lambda: self._stub.DeliverSum(parts(), timeout=_TRANSFER_SECONDS))

    def deliver_scalars(self, delivery: pb.ScalarDelivery) -> None:
        """Deliver the signed statements of opened scalars."""
        self._persist(lambda: self._stub.DeliverScalars(delivery, timeout=_TRANSFER_SECONDS))

    @property
    def _name(self) -> str:
        return f"the coordinator at {self._address}"

    def _once(self, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except grpc.RpcError as error:
            raise from_rpc_error(error, self._name) from error

    def _persist(self, call: Callable[[], Answer]) -> Answer:
        retrying = Retrying(
            retry=retry_if_exception_type(Unreachable),
            wait=wait_random_exponential(multiplier=0.2, max=_LONGEST_WAIT_SECONDS),
            stop=stop_when_event_set(self._stopping),
            sleep=self._pause,
            reraise=True,
        )
        answer: Answer = retrying(self._once, call)
        return answer

    def _pause(self, seconds: float) -> None:
        self._stopping.wait(seconds)

    def _cancel_at_stop(self, call: grpc.Call) -> None:
        while call.is_active():
            if self._stopping.wait(0.2):
                with suppress(grpc.RpcError):
                    call.cancel()  # type: ignore[no-untyped-call]  # grpc-stubs leave it untyped
                return
