"""The whole protocol on one page: every message of one attempt, between all parties in one process.

It is the reference: documentation, known-answer vectors and most tests start here. It uses the same client
and server as a networked federation, and their real byte forms.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from fedseal_crypto.encoding import RingVector
from fedseal_crypto.identity import Entropy, IdentityKey
from fedseal_crypto.masking._client import MaskingClient
from fedseal_crypto.masking._errors import MessageMalformed, ParametersInvalid
from fedseal_crypto.masking._limits import ClientLimits
from fedseal_crypto.masking._messages import ClientMessage, MaskedInput, MaskedInputHeader, ServerMessage
from fedseal_crypto.masking._parameters import ClientId, RoundParameters
from fedseal_crypto.masking._recovery import RingSum
from fedseal_crypto.masking._server import MaskingServer
from fedseal_crypto.masking._states import Step
from fedseal_crypto.masking._wire import decode_message

ENDED = frozenset({Step.DONE, Step.FAILED})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """One member of `run_round`.

    Attributes:
        identity: Its signing key.
        words: Its encoded contribution.
        leaves_at: The step from which on it answers no more, if any.
    """

    identity: IdentityKey
    words: RingVector
    leaves_at: Step | None = None


@final
@dataclass(frozen=True, slots=True)
class Transcript:
    """Every message of an attempt in its byte form, for vectors and tests.

    Attributes:
        up: Step, sender, message.
        down: Step, receiver, message.
        inputs: Raw ring bytes by sender.
    """

    up: list[tuple[Step, ClientId, bytes]] = field(default_factory=list)
    down: list[tuple[Step, ClientId, bytes]] = field(default_factory=list)
    inputs: dict[ClientId, bytes] = field(default_factory=dict)


def run_round(
    parameters: RoundParameters,
    parties: Mapping[ClientId, Party],
    *,
    limits: ClientLimits,
    entropy: Entropy,
    transcript: Transcript | None = None,
) -> RingSum:
    """Play one attempt to its end.

    Args:
        parameters: The attempt; every member of its roster is in `parties`.
        parties: The members.
        limits: What each member demands.
        entropy: Used by the members in the order of the roster.
        transcript: Filled with every message, if given.

    Returns:
        The sum over the members that had sent their masked input.

    Raises:
        RoundFailed: Too many left.
        ParametersInvalid: A member of the roster is not among the parties.
    """
    missing = [name for name in parameters.roster if name not in parties]
    if missing:
        raise ParametersInvalid(f"{missing[0]!r} is in the roster but plays no part.")
    members = {name: party.identity.public for name, party in parties.items()}

    # Every party computes for itself whether the parameters are good enough.
    server = MaskingServer(parameters, members)
    clients = {
        name: MaskingClient(parameters, parties[name].identity, members, limits, entropy) for name in parameters.roster
    }

    while server.step not in ENDED:
        step, encoded = server.step, Encoder()
        for name, client in clients.items():
            # A member that has left neither hears nor answers; one that left before is told nothing more.
            if name not in server.expected or has_left(parties[name], step):
                continue
            # advertise: fresh keys and a commitment, signed.
            # reveal:    (sparse graph) everybody's keys by digest -> the nonce behind the graph.
            # share:     everybody's keys -> sealed shares of the two secrets for each neighbour.
            # mask:      sealed shares -> the masked vector.
            # confirm:   whose vectors are in the sum -> a signature over that list.
            # unmask:    enough signatures -> one share for each member, of one kind or the other.
            instruction = server.instruction_for(name)
            if instruction is None:
                answer: ClientMessage = client.advertise()
            else:
                answer = client.answer(delivered(encoded(instruction), step, name, transcript), parties[name].words)
            server.receive(sent(answer, step, name, transcript))
        server.close_step()
    return server.result


def has_left(party: Party, step: Step) -> bool:
    """Whether it no longer answers in this step."""
    order = list(Step)
    return party.leaves_at is not None and order.index(party.leaves_at) <= order.index(step)


@final
class Encoder:
    """Encodes a message once if it is sent to many members."""

    def __init__(self) -> None:
        self._last: tuple[ServerMessage, bytes] | None = None

    def __call__(self, message: ServerMessage) -> bytes:
        if self._last is None or self._last[0] is not message:
            self._last = (message, message.encode())
        return self._last[1]


def delivered(data: bytes, step: Step, name: ClientId, record: Transcript | None) -> ServerMessage:
    """A message to a member as it arrives, recorded on the way."""
    if record is not None:
        record.down.append((step, name, data))
    decoded = decode_message(data)
    if isinstance(decoded, ServerMessage):
        return decoded
    raise MessageMalformed(f"a message for {name} in step {step} is of a kind that only members send.")


def sent(message: ClientMessage, step: Step, name: ClientId, record: Transcript | None) -> ClientMessage:
    """A message of a member as it arrives, recorded on the way."""
    wire = message.header if isinstance(message, MaskedInput) else message
    data = wire.encode()
    if record is not None:
        record.up.append((step, name, data))
    decoded = decode_message(data)
    if isinstance(message, MaskedInput) and isinstance(decoded, MaskedInputHeader):
        raw = message.words.to_bytes()
        if record is not None:
            record.inputs[name] = raw
        return decoded.with_words(RingVector.from_bytes(message.words, raw))
    if isinstance(decoded, ClientMessage):
        return decoded
    raise MessageMalformed(f"a message of {name} in step {step} is of a kind that only servers send.")
