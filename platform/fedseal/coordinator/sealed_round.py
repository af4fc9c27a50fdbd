"""The attempt under way where contributions are encrypted: ciphertexts in the spool instead of masked vectors.

A ciphertext is checked completely, and its signed statement with it, before it counts. The sum is made at the
end from the files, in memory that does not grow with the number of nodes; only the custodian can open it, and
adds the same files again itself.
"""

import hashlib
import mmap
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from fedseal.coordinator.active_round import ActiveRound
from fedseal.coordinator.job_run import OpenedRound
from fedseal.coordinator.round_driver import RoundDriver
from fedseal.errors import PeerFault
from fedseal_crypto.custody import (
    Commitment,
    CommitmentList,
    Parcel,
    SealedInput,
    SealedMessage,
    SealedServer,
    Statements,
    SumRequest,
    beside_digest,
    check_seen,
    holds_parcel,
)
from fedseal_crypto.homomorphic import Adder, EvaluationContext, PublicContext, SlotPlan, check_bundle, check_reals
from fedseal_crypto.masking import ClientId, HiddenInput, MaskedInputHeader
from fedseal_governance.vocabulary import Protection


class SealedRound(ActiveRound):
    """One attempt under a custodian's key."""

    def __init__(
        self,
        opened: OpenedRound,
        driver: RoundDriver,
        spool: Path,
        log_size: int,
        *,
        public: PublicContext,
        scalars: PublicContext | None = None,
    ) -> None:
        """Begin an attempt; ``scalars`` is the second public key of a job whose method has scalars."""
        super().__init__(opened, driver, spool, log_size)
        self._public = public
        self._scalar_public = scalars
        self._inputs: dict[ClientId, SealedInput] = {}
        self._request: SumRequest | None = None
        plan = opened.plan
        self._statements = Statements(plan.parameters, plan.members, bytes.fromhex(public.key_digest))

    @property
    def slots(self) -> SlotPlan:
        """How words lie in ciphertexts."""
        if self.opened.slots is None:
            sentence = f"{self.opened.plan.address} has no layout for ciphertexts"
            raise PeerFault(sentence)
        return self.opened.slots

    def take_message(self, payload: bytes, sender: ClientId) -> bool:
        """Take a message other than a ciphertext; false if it was taken before.

        Raises:
            PeerFault, PeerError: it fails a check; nothing changed.
        """
        if self.opened.plan.protection is not Protection.HOMOMORPHIC:
            return super().take_message(payload, sender)
        news = self.driver.receive(SealedMessage(client=sender, content=Commitment.decode(payload)))
        if news:
            self.received += len(payload)
        return news

    def take_vector(self, payload: bytes, sender: ClientId, file: Path) -> bool:
        """Take a ciphertext that arrived in ``file``, which is moved to the spool; false if it was taken before.

        Raises:
            PeerFault, PeerError: it fails a check; nothing changed.
        """
        parcel = Parcel.decode(payload)
        if parcel.sealed.client != sender:
            sentence = f"{sender} sent a ciphertext in the name of {parcel.sealed.client}"
            raise PeerFault(sentence)
        if sender in self._inputs:
            return self._receive(parcel)  # a repetition, or refused
        second = self._split(file)
        try:
            self._check_file(parcel.sealed, file, second)
            news = self._receive(parcel)
            if news:
                shutil.move(file, self._spooled(sender))
                if second is not None:
                    shutil.move(second, self._second(sender))
                self._inputs[sender] = parcel.sealed
                self.received += len(payload) + self.opened.upload_bytes
        finally:
            if second is not None:
                second.unlink(missing_ok=True)
        return news

    def ciphertext(self, member: str) -> Path:
        """The file of a ciphertext that is in the sum.

        Raises:
            PeerFault: there is none.
        """
        client = ClientId(member)
        if client not in self._inputs:
            sentence = f"{self.opened.plan.address}: there is no ciphertext of {member}"
            raise PeerFault(sentence)
        return self._spooled(client)

    def request(self) -> SumRequest:
        """What to ask the custodian, once every step is done; made once.

        Raises:
            PeerError: a file was changed since it arrived.
        """
        if self._request is None:
            self._request = self._new_request()
        return self._request

    def leave_out(self, clients: Collection[ClientId]) -> None:
        """Take members out of the sum, before it is asked for.

        Raises:
            RoundFailed: fewer would remain than a sum must have.
        """
        server = self.driver.server
        if isinstance(server, SealedServer):
            server.leave_out(clients)
            self._request = None

    @property
    def scalar_file(self) -> Path:
        """Where the encrypted numbers about single contributions are."""
        return self.spool / "scalars.bin"

    def second_digests(self) -> tuple[bytes, ...]:
        """SHA-256 of the second ciphertext of everybody who is not left out."""
        return tuple(_digest_of(self._second(client)) for client in self.driver.result.survivors)

    def scalar_request(self, evaluation: EvaluationContext) -> SumRequest:
        """Compute the numbers about single contributions under encryption, and what to ask the custodian.

        The same ciphertexts give the same bytes, so that a coordinator that was restarted asks the same.

        Raises:
            PeerError: a file was changed since it arrived.
        """
        scalars = self.opened.scalars
        if scalars is None:
            sentence = f"{self.opened.plan.address} has no scalars"
            raise PeerFault(sentence)
        plan, survivors = scalars.terms.plan, self.driver.result.survivors
        with self.scalar_file.open("wb") as out:
            for client in survivors:
                with _mapped(self._second(client)) as bundle:
                    for scalar in scalars.asked.scalars:
                        if scalar.public is None:
                            out.write(evaluation.squared_norm(bundle, plan))
                        else:
                            out.write(evaluation.inner_product_with_public(bundle, scalar.public, plan))
        return SumRequest(
            parameters=self.opened.plan.parameters,
            commitments=self._commitments(),
            inputs=tuple(self._inputs[client] for client in survivors),
            specs=self.opened.specs,
            sum_digest=_digest_of(self.scalar_file),
        )

    def _second(self, client: ClientId) -> Path:
        return self.spool / f"{client}.second"

    def _split(self, file: Path) -> Path | None:
        """Move the second ciphertext of an upload into a file of its own; None if there is none."""
        if self.opened.scalars is None:
            return None
        second = file.with_suffix(".second")
        with file.open("r+b") as whole, second.open("wb") as out:
            whole.seek(self.slots.bundle_bytes)
            shutil.copyfileobj(whole, out)
            whole.truncate(self.slots.bundle_bytes)
        return second

    def _new_request(self) -> SumRequest:
        survivors = self.driver.result.survivors
        adder = Adder(self.slots, self._public)
        for client in survivors:
            with _mapped(self._spooled(client)) as bundle:
                adder.add(bundle)
        return SumRequest(
            parameters=self.opened.plan.parameters,
            commitments=self._commitments(),
            inputs=tuple(self._inputs[client] for client in survivors),
            specs=self.opened.specs,
            sum_digest=hashlib.sha256(adder.to_bytes()).digest(),
        )

    def _commitments(self) -> CommitmentList | None:
        server = self.driver.server
        return server.commitments if isinstance(server, SealedServer) else None

    def _check_file(self, sealed: SealedInput, file: Path, second: Path | None) -> None:
        with _mapped(file) as bundle:
            if hashlib.sha256(bundle).digest() != sealed.digest:
                sentence = f"{sealed.client} sent a ciphertext that does not match the digest that it signed"
                raise PeerFault(sentence)
            check_bundle(bundle, plan=self.slots, public=self._public)
        if second is not None:
            self._check_second(sealed.client, second)

    def _check_second(self, client: ClientId, file: Path) -> None:
        scalars, listed = self.opened.scalars, self._commitments()
        if scalars is None or listed is None or self._scalar_public is None:
            sentence = f"{client} sent a second ciphertext before it can be checked"
            raise PeerFault(sentence)
        with _mapped(file) as bundle:
            agreed = beside_digest(scalars.terms.encode(), hashlib.sha256(bundle).digest())
            if not any(item.client == client and item.beside == agreed for item in listed.commitments):
                sentence = f"{client} sent a second ciphertext, or numbers about it, that it did not commit to"
                raise PeerFault(sentence)
            check_reals(bundle, plan=scalars.terms.plan, public=self._scalar_public)

    def _receive(self, parcel: Parcel) -> bool:
        if self.opened.plan.protection is Protection.HOMOMORPHIC:
            return self.driver.receive(SealedMessage(client=parcel.sealed.client, content=parcel))
        self._statements.check(parcel.sealed)
        check_seen(parcel.sealed, None, {})
        return self.driver.receive(self._hidden(parcel))

    def _hidden(self, parcel: Parcel) -> HiddenInput:
        header = self._decoded(parcel.masking)
        if not isinstance(header, MaskedInputHeader) or header.client != parcel.sealed.client:
            sentence = f"{parcel.sealed.client} sent a ciphertext without the header of its own masked vector"
            raise PeerFault(sentence)
        return header.hidden()

    def _replay_one(self, payload: bytes) -> None:
        if holds_parcel(payload):
            parcel = Parcel.decode(payload)
            client = parcel.sealed.client
            second = None if self.opened.scalars is None else self._second(client)
            self._check_file(parcel.sealed, self._spooled(client), second)
            self._receive(parcel)
            self._inputs[parcel.sealed.client] = parcel.sealed
            self.received += len(payload) + self.opened.upload_bytes
        elif self.opened.plan.protection is Protection.HOMOMORPHIC:
            commitment = Commitment.decode(payload)
            self.driver.receive(SealedMessage(client=commitment.client, content=commitment))
            self.received += len(payload)
        else:
            super()._replay_one(payload)


def _digest_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


@contextmanager
def _mapped(path: Path) -> Iterator[memoryview]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        view = memoryview(mapped)
        try:
            yield view
        finally:
            view.release()
