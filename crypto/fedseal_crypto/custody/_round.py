"""A whole attempt under a custodian's key: every message between members, coordinator and custodian in one process.

It is to `homomorphic` and `hybrid` what `fedseal_crypto.masking.run_round` is to masks: the same clients, servers and
checks as in a networked federation, and their real byte forms. Whoever runs it has every secret.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from fedseal_crypto.custody._client import SealedClient, masked_parcel
from fedseal_crypto.custody._messages import Commitment, CommitmentList, Parcel, SumRequest
from fedseal_crypto.custody._request import Expected, check_request
from fedseal_crypto.custody._server import SealedMessage, SealedServer
from fedseal_crypto.encoding import RingVector, VectorSpec
from fedseal_crypto.homomorphic import (
    Adder,
    SecretContext,
    SlotPlan,
    check_bundle,
    encrypt_vector,
    lift_masks,
    plan_slots,
)
from fedseal_crypto.identity import Entropy, PublicIdentity
from fedseal_crypto.masking import (
    ClientId,
    ClientLimits,
    InputRefused,
    MaskedInput,
    MaskedInputHeader,
    MaskingClient,
    MaskingServer,
    ParametersInvalid,
    Party,
    RingSum,
    RoundParameters,
    Step,
    Transcript,
)
from fedseal_crypto.masking._errors import MessageMalformed, Violation
from fedseal_crypto.masking._members import COORDINATOR
from fedseal_crypto.masking._round import ENDED, Encoder, delivered, has_left, sent
from fedseal_crypto.masking._wire import decode_message


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Custody:
    """What an attempt under a custodian's key has beside its parameters.

    Attributes:
        secret: The custodian's key of the job.
        specs: The vectors inside.
        plan: How their words lie in ciphertexts.
        masked: Whether masks are inside (`hybrid`); otherwise pads (`homomorphic`).
        limits: What each member demands.
    """

    secret: SecretContext
    specs: tuple[VectorSpec, ...]
    plan: SlotPlan
    masked: bool
    limits: ClientLimits

    @property
    def key(self) -> bytes:
        """Digest of the public key, 32 bytes."""
        return bytes.fromhex(self.secret.public.key_digest)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What the coordinator holds when every step is done.

    Attributes:
        result: Who is in the sum, and minus the sum of their pads or masks.
        parcels: What came before each ciphertext, pads included.
        bundles: The ciphertexts.
        commitments: What the members saw; None where masks are inside.
    """

    result: RingSum
    parcels: Mapping[ClientId, Parcel]
    bundles: Mapping[ClientId, bytes]
    commitments: CommitmentList | None

    def request(self, parameters: RoundParameters, custody: Custody) -> SumRequest:
        """What it asks the custodian."""
        adder = Adder(custody.plan, custody.secret.public)
        for name in self.result.survivors:
            adder.add(self.bundles[name])
        return SumRequest(
            parameters=parameters,
            commitments=self.commitments,
            inputs=tuple(self.parcels[name].sealed for name in self.result.survivors),
            specs=custody.specs,
            sum_digest=hashlib.sha256(adder.to_bytes()).digest(),
        )


def run_sealed_round(
    parameters: RoundParameters,
    parties: Mapping[ClientId, Party],
    custody: Custody,
    *,
    entropy: Entropy,
    transcript: Transcript | None = None,
) -> RingSum:
    """Play one attempt to its end, the custodian's part included.

    Args:
        parameters: The attempt; every member of its roster is in `parties`.
        parties: The members; `words` are of the plan's layout.
        custody: Key, layout and protection.
        entropy: For pads or masks, used in the order of the roster; encryption draws its own randomness.
        transcript: Filled with every message of members and to them, if given; inputs are ciphertexts.

    Returns:
        The sum over the members whose ciphertext arrived, to be decoded with the layout.

    Raises:
        RoundFailed: Too many left.
        ParametersInvalid: A member of the roster is not among the parties.
    """
    record = Transcript() if transcript is None else transcript
    collected = collect_sealed(parameters, parties, custody, entropy=entropy, transcript=record)
    request = SumRequest.decode(collected.request(parameters, custody).encode(), members=len(parameters.roster))
    expected = Expected(
        federation=parameters.federation,
        job_digest=parameters.job_digest,
        key=custody.key,
        masked=custody.masked,
        minimum_cohort=parameters.minimum_cohort,
    )
    members = check_request(request, expected, _members(parties))
    opened = open_sealed(request, members, collected.bundles, custody.secret)
    result = collected.result
    words = lift_masks(opened, result.words, custody.plan)
    return RingSum(words=words, survivors=members, dropped=result.dropped, blamed=result.blamed)


def open_sealed(
    request: SumRequest, members: tuple[ClientId, ...], bundles: Mapping[ClientId, bytes], secret: SecretContext
) -> RingVector:
    """An honest custodian's part after `check_request`: add what members signed, compare, decrypt.

    Raises:
        InputRefused: The layout, a ciphertext or the sum is not the one that members signed or the request names.
        CiphertextRefused: A ciphertext is malformed.
    """
    parameters = request.parameters
    layout, plan = plan_slots(request.specs, cohort=len(parameters.roster), parameters=secret.parameters, masked=True)
    if layout.digest != parameters.layout_digest or layout.shape.runs != parameters.words:
        raise _refused(COORDINATOR, "other vectors than members signed", "the layout of the attempt")
    adder = Adder(plan, secret.public)
    for sealed in request.inputs:
        bundle = bundles[sealed.client]
        if hashlib.sha256(bundle).digest() != sealed.digest:
            raise _refused(sealed.client, "another ciphertext", "the one that it signed")
        adder.add(bundle)
    total = adder.to_bytes()
    if hashlib.sha256(total).digest() != request.sum_digest:
        raise _refused(COORDINATOR, "another sum", "the sum of the ciphertexts that members signed")
    return secret.decrypt_sum(total, plan=plan, count=len(members))


def collect_sealed(
    parameters: RoundParameters,
    parties: Mapping[ClientId, Party],
    custody: Custody,
    *,
    entropy: Entropy,
    transcript: Transcript,
) -> Collected:
    """Members' and coordinator's part of an attempt; see `run_sealed_round`.

    Raises:
        RoundFailed: Too many left.
        ParametersInvalid: A member of the roster is not among the parties.
    """
    missing = [name for name in parameters.roster if name not in parties]
    if missing:
        raise ParametersInvalid(f"{missing[0]!r} is in the roster but plays no part.")
    collect = _collect_masked if custody.masked else _collect_padded
    return collect(parameters, parties, custody, entropy, transcript)


def _collect_padded(
    parameters: RoundParameters,
    parties: Mapping[ClientId, Party],
    custody: Custody,
    entropy: Entropy,
    record: Transcript,
) -> Collected:
    members, public = _members(parties), custody.secret.public
    server = SealedServer(parameters, members, custody.key)
    clients: dict[ClientId, SealedClient] = {}
    bundles: dict[ClientId, bytes] = {}
    for name in parameters.roster:
        if has_left(parties[name], Step.ADVERTISE):
            continue
        clients[name] = SealedClient(parameters, parties[name].identity, members, custody.limits, custody.key)
        padded = clients[name].pad(parties[name].words, entropy)
        bundles[name] = encrypt_vector(padded, plan=custody.plan, public=public)
        data = clients[name].commit(hashlib.sha256(bundles[name]).digest()).encode()
        record.up.append((Step.ADVERTISE, name, data))
        server.receive(SealedMessage(client=name, content=Commitment.decode(data)))
    server.close_step()
    parcels: dict[ClientId, Parcel] = {}
    for name, client in clients.items():
        instruction = server.instruction_for(name)
        if instruction is None or has_left(parties[name], Step.MASK):
            continue
        shown = instruction.encode()
        record.down.append((Step.MASK, name, shown))
        parcel = client.send(CommitmentList.decode(shown, members=len(parameters.roster)))
        parcels[name] = _arrived(parcel, bundles[name], custody, record)
        server.receive(SealedMessage(client=name, content=parcels[name]))
    server.close_step()
    return Collected(result=server.result, parcels=parcels, bundles=bundles, commitments=server.commitments)


def _collect_masked(
    parameters: RoundParameters,
    parties: Mapping[ClientId, Party],
    custody: Custody,
    entropy: Entropy,
    record: Transcript,
) -> Collected:
    members = _members(parties)
    server = MaskingServer(parameters, members, hidden=True)
    clients = {
        name: MaskingClient(parameters, parties[name].identity, members, custody.limits, entropy)
        for name in parameters.roster
    }
    bundles: dict[ClientId, bytes] = {}
    parcels: dict[ClientId, Parcel] = {}
    while server.step not in ENDED:
        step, encoded = server.step, Encoder()
        for name, client in clients.items():
            party = parties[name]
            if name not in server.expected or has_left(party, step):
                continue
            instruction = server.instruction_for(name)
            if instruction is None:
                server.receive(sent(client.advertise(), step, name, record))
                continue
            answer = client.answer(delivered(encoded(instruction), step, name, record), party.words)
            if not isinstance(answer, MaskedInput):
                server.receive(sent(answer, step, name, record))
                continue
            bundles[name] = encrypt_vector(answer.words, plan=custody.plan, public=custody.secret.public)
            digest = hashlib.sha256(bundles[name]).digest()
            parcel = masked_parcel(
                answer.header, digest, parameters=parameters, key=custody.key, identity=party.identity
            )
            parcels[name] = _arrived(parcel, bundles[name], custody, record)
            server.receive(_header(parcels[name]).hidden())
        server.close_step()
    return Collected(result=server.result, parcels=parcels, bundles=bundles, commitments=None)


def _arrived(parcel: Parcel, bundle: bytes, custody: Custody, record: Transcript) -> Parcel:
    """A parcel as the coordinator reads it, once it has checked the ciphertext behind it."""
    name, data = parcel.sealed.client, parcel.encode()
    record.up.append((Step.MASK, name, data))
    record.inputs[name] = bundle
    check_bundle(bundle, plan=custody.plan, public=custody.secret.public)
    return Parcel.decode(data)


def _header(parcel: Parcel) -> MaskedInputHeader:
    header = decode_message(parcel.masking)
    if not isinstance(header, MaskedInputHeader):
        raise MessageMalformed(f"a ciphertext of {parcel.sealed.client} is without the header of its masked vector.")
    return header


def _members(parties: Mapping[ClientId, Party]) -> dict[ClientId, PublicIdentity]:
    return {name: party.identity.public for name, party in parties.items()}


def _refused(party: ClientId | str, got: str, expected: str) -> InputRefused:
    return InputRefused(Violation(step=Step.DONE, party=party, got=got, expected=expected))
