"""The node's calls to its coordinator: attend, report, download, contribute, witness.

Every call is safe to repeat: the coordinator treats byte-identical repetitions as one. Reports and uploads
therefore wait for the coordinator to come back and try again until they are answered or the node stops.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import grpc
from tenacity import Retrying, retry_if_exception_type, stop_when_event_set, wait_random_exponential
from tenacity.wait import wait_base

from fedseal.errors import PeerFault
from fedseal.folders import TlsMaterial
from fedseal.wire import chunks, tls
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal.wire._generated.coordination_pb2_grpc import CoordinationStub
from fedseal.wire.status import Unreachable, from_rpc_error

_CALL_SECONDS = 30.0
_TRANSFER_SECONDS = 600.0
_LONGEST_WAIT_SECONDS = 5.0

Answer = TypeVar("Answer")


class CoordinatorConnection:
    """One mutual-TLS channel to the coordinator. Thread-safe, as gRPC channels are."""

    def __init__(self, *, address: str, service_name: str, material: TlsMaterial, stopping: threading.Event) -> None:
        self._address = address
        self._stopping = stopping
        self._service_name = service_name
        self._channel = tls.open_channel(address, material, service_name=service_name)
        self._stub = CoordinationStub(self._channel)
        self._stream: grpc.Call | None = None
        self._wait: wait_base = wait_random_exponential(multiplier=0.2, max=_LONGEST_WAIT_SECONDS)

    def renew(self, material: TlsMaterial) -> None:
        """Go on with another certificate; calls under way are broken off, and those that persist try again."""
        former = self._channel
        self._channel = tls.open_channel(self._address, material, service_name=self._service_name)
        self._stub = CoordinationStub(self._channel)
        former.close()

    def close(self) -> None:
        """End every call and the channel."""
        self._channel.close()

    def attend(self, attendance: pb.Attendance) -> Iterator[pb.Instruction]:
        """Open the instruction stream; ends or raises ``RemoteError`` when it breaks.

        Raises:
            Unreachable: the coordinator cannot be reached.
            CallRefused: it does not accept this node; the sentence says why.
        """
        call = self._stub.Attend(attendance)
        self._stream = call
        watcher = threading.Thread(target=self._cancel_at_stop, args=(call,), daemon=True)
        watcher.start()
        try:
            yield from call
        except grpc.RpcError as error:
            if not self._stopping.is_set():
                raise from_rpc_error(error, self._name) from error
        finally:
            call.cancel()  # type: ignore[no-untyped-call]  # grpc-stubs leave it untyped

    def attend_again(self) -> None:
        """Break the instruction stream, so that it is opened again with fresh facts about this node."""
        if self._stream is not None:
            self._stream.cancel()  # type: ignore[no-untyped-call]  # grpc-stubs leave it untyped

    def report(self, report: pb.NodeReport) -> None:
        """Deliver a report; returns when the coordinator has stored it.

        Raises:
            CallRefused: the coordinator does not take it, for example because the round is over.
        """
        self._persist(lambda: self._stub.Report(report, timeout=_CALL_SECONDS))

    def contribute(self, header: pb.ContributionHeader, pieces: Callable[[], Iterator[bytes]]) -> None:
        """Upload a masked vector; ``pieces`` is called again for each attempt at the transfer."""

        def parts() -> Iterator[pb.ContributionPart]:
            yield pb.ContributionPart(header=header)
            for piece in pieces():
                yield pb.ContributionPart(data=piece)

        self._persist(lambda: self._stub.Contribute(parts(), timeout=_TRANSFER_SECONDS))

    def download(self, *, digest: str, job: str, size: int, target: Path) -> None:
        """Fetch an artefact and check its digest.

        Raises:
            PeerFault: what arrived is not what was announced.
        """

        def fetch() -> str:
            request = pb.ArtefactRequest(digest=digest, job=job)
            stream = self._stub.Download(request, timeout=_TRANSFER_SECONDS)
            return chunks.receive((piece.data for piece in stream), target, size=size)

        received = self._persist(fetch)
        if received != digest:
            target.unlink(missing_ok=True)
            message = (
                f"the coordinator announced a broadcast with digest {digest[:16]}… and sent another ({received[:16]}…)"
            )
            raise PeerFault(message)

    def fetch_checkpoint(self, known_size: int) -> pb.CheckpointReply:
        """The coordinator's newest checkpoint and its consistency proof from ``known_size``; one try."""
        return self._once(
            lambda: self._stub.FetchCheckpoint(pb.CheckpointRequest(known_size=known_size), timeout=_CALL_SECONDS)
        )

    def cosign(self, cosignature: pb.Cosignature) -> None:
        """Hand over this node's cosignature; one try."""
        self._once(lambda: self._stub.Cosign(cosignature, timeout=_CALL_SECONDS))

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
            wait=self._wait,
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
