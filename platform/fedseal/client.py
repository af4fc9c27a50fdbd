"""A person's connection to the coordinator: sign and submit jobs, watch them, fetch what they produced."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import grpc

from fedseal.authority.names import service_name
from fedseal.documents import sign_job
from fedseal.errors import PeerFault, SetupError
from fedseal.folders import PartyFolder
from fedseal.wire import chunks, tls
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal.wire._generated.coordination_pb2_grpc import AdministrationStub
from fedseal.wire.status import from_rpc_error
from fedseal_crypto.digests import Digest
from fedseal_crypto.dsse import sign_document
from fedseal_crypto.identity import PartyKind
from fedseal_crypto.secret import SecretBytes
from fedseal_governance.policy import POLICY_TYPE
from fedseal_governance.policy.revocation import sign_revocation

_CALL_SECONDS = 30.0
_TRANSFER_SECONDS = 600.0

Answer = TypeVar("Answer")


class Client:
    """One person's channel to the coordinator; use it as a context manager.

    Args:
        folder: the person's folder, as ``fedseal user enrol`` makes it.
        address: ``host:port`` of the coordinator; the one in the folder if left out.
        passphrase: opens the person's keys.
        coordinator: the coordinator's name in its certificate.

    Raises:
        SetupError: no address is known.
    """

    def __init__(
        self,
        folder: PartyFolder,
        *,
        address: str | None = None,
        passphrase: SecretBytes | None = None,
        coordinator: str = "coordinator",
    ) -> None:
        target = address or folder.record.coordinator
        if target is None:
            sentence = f"{folder.path} names no coordinator; give its host:port with --coordinator"
            raise SetupError(sentence)
        self._folder = folder
        self._passphrase = passphrase
        self._name = f"the coordinator at {target}"
        name = service_name(folder.record.federation, PartyKind.COORDINATOR, coordinator)
        self._channel = tls.open_channel(target, folder.tls(passphrase), service_name=name)
        self._stub = AdministrationStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the channel."""
        self._channel.close()

    def check_job(self, data: bytes, filename: str) -> pb.JobVerdicts:
        """What each node's policy says about a job file, as far as the coordinator knows; nothing is stored."""
        signed = self._sign(data, filename)
        return self._call(lambda: self._stub.CheckJob(pb.SignedFile(document=signed), timeout=_CALL_SECONDS))

    def submit_job(self, data: bytes, filename: str) -> pb.JobSummary:
        """Sign a job file and submit it.

        Raises:
            DocumentError: the file is not a valid job.
            CallRefused: the coordinator refuses it; the sentence names the clauses.
        """
        signed = self._sign(data, filename)
        return self._call(lambda: self._stub.SubmitJob(pb.SignedFile(document=signed), timeout=_CALL_SECONDS))

    def jobs(self) -> pb.JobList:
        """All jobs, newest first."""
        return self._call(lambda: self._stub.ListJobs(pb.ListRequest(), timeout=_CALL_SECONDS))

    def show_job(self, job: str) -> pb.JobDetail:
        """One job by name or by the beginning of its digest."""
        return self._call(lambda: self._stub.ShowJob(pb.JobRequest(job=job), timeout=_CALL_SECONDS))

    def watch_job(self, job: str) -> Iterator[pb.JobEvent]:
        """The job's state and then its events until it ends."""
        try:
            yield from self._stub.WatchJob(pb.JobRequest(job=job))
        except grpc.RpcError as error:
            raise from_rpc_error(error, self._name) from error

    def stop_job(self, job: str, reason: str) -> pb.JobSummary:
        """End a job; its last good model stays."""
        request = pb.StopRequest(job=job, reason=reason)
        return self._call(lambda: self._stub.StopJob(request, timeout=_CALL_SECONDS))

    def nodes(self) -> pb.NodeList:
        """The nodes that are present."""
        return self._call(lambda: self._stub.ListNodes(pb.ListRequest(), timeout=_CALL_SECONDS))

    def publish_revocations(self, crl_pem: bytes) -> str:
        """Bring the authority's newest revocation list to the coordinator; says whether it was news."""
        receipt = self._call(
            lambda: self._stub.PublishRevocations(pb.RevocationList(pem=crl_pem), timeout=_CALL_SECONDS)
        )
        return str(receipt.note)

    def propose_policy(self, content: bytes, filename: str) -> pb.PolicyView:
        """Put a policy of the federation before the officers."""
        request = pb.PolicyFile(content=content, filename=filename)
        return self._call(lambda: self._stub.ProposePolicy(request, timeout=_CALL_SECONDS))

    def sign_policy(self, content: bytes) -> pb.PolicyView:
        """Sign the exact bytes of a proposed policy of the federation."""
        signed = sign_document(
            POLICY_TYPE,
            content,
            key=self._folder.identity_key(self._passphrase),
            certificate_pem=self._folder.identity_certificate(),
        )
        request = pb.SignedFile(document=signed.to_json())
        return self._call(lambda: self._stub.SignPolicy(request, timeout=_CALL_SECONDS))

    def revoke_policy(self, digest: Digest, reason: str, now: datetime) -> pb.PolicyView:
        """End a policy of the federation at once.

        Raises:
            RefusedError: the reason is no reason.
        """
        signed = sign_revocation(
            digest,
            reason,
            now=now,
            key=self._folder.identity_key(self._passphrase),
            certificate_pem=self._folder.identity_certificate(),
        )
        request = pb.PolicyRevocation(policy=digest, document=signed.to_json())
        return self._call(lambda: self._stub.RevokePolicy(request, timeout=_CALL_SECONDS))

    def policies(self) -> pb.PolicyList:
        """The federation's policies."""
        return self._call(lambda: self._stub.ListPolicies(pb.ListRequest(), timeout=_CALL_SECONDS))

    def policy_history(self, name: str) -> pb.PolicyEvents:
        """What happened to a policy of the federation; to all of them if ``name`` is empty."""
        request = pb.PolicyRequest(policy=name)
        return self._call(lambda: self._stub.PolicyHistory(request, timeout=_CALL_SECONDS))

    def policy_impact(self, content: bytes, filename: str) -> pb.PolicyImpactReply:
        """What a new version would have said to the federation's past jobs."""
        request = pb.PolicyFile(content=content, filename=filename)
        return self._call(lambda: self._stub.PolicyImpact(request, timeout=_CALL_SECONDS))

    def download(self, job: str, digest: str, target: Path) -> None:
        """Fetch an artefact of a job into ``target``, whole and checked, or not at all.

        Raises:
            PeerFault: what arrived is not what was asked for.
        """
        detail = self.show_job(job)
        sizes = {item.digest: item.size for item in detail.artefacts}
        if digest not in sizes:
            sentence = f"job {job} has no artefact {digest[:16]}; `fedseal job show` lists what there is"
            raise SetupError(sentence)
        part = target.with_name(target.name + ".part")

        def fetch() -> str:
            request = pb.ArtefactRequest(digest=digest, job=detail.summary.job)
            stream = self._stub.Download(request, timeout=_TRANSFER_SECONDS)
            return chunks.receive((piece.data for piece in stream), part, size=sizes[digest])

        if self._call(fetch) != digest:
            part.unlink(missing_ok=True)
            sentence = f"{self._name} sent another file than {digest[:16]}; it was discarded"
            raise PeerFault(sentence)
        part.replace(target)

    def _sign(self, data: bytes, filename: str) -> bytes:
        key = self._folder.identity_key(self._passphrase)
        certificate = self._folder.identity_certificate()
        return sign_job(data, key=key, certificate_pem=certificate, filename=filename)

    def _call(self, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except grpc.RpcError as error:
            raise from_rpc_error(error, self._name) from error
