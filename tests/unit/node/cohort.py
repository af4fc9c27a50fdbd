"""A round in which several members are real nodes: each with its own database, policy, log and agent.

The coordinator of these tests owns the network and every database but the nodes'. It speaks to each real node through
that node's own `Attempt`, so that it can tell each a different story; the rest are protocol objects whose keys it has.
"""

from dataclasses import dataclass

from fedseal_crypto.encoding import RingVector
from fedseal_crypto.masking import (
    ClientId,
    ClientMessage,
    MaskedInputHeader,
    MaskingServer,
    ServerMessage,
    Step,
    Unmasking,
    decode_message,
)
from tests.unit.node.attempts import Attempt
from tests.unit.node.site import Site


@dataclass(slots=True)
class Cohort:
    """Attempts of real nodes with equal parameters, and the members that the first of them plays."""

    real: dict[ClientId, Attempt]

    def __post_init__(self) -> None:
        first = next(iter(self.real.values()))
        assert all(attempt.parameters == first.parameters for attempt in self.real.values())

    @property
    def first(self) -> Attempt:
        return next(iter(self.real.values()))

    @property
    def server(self) -> MaskingServer:
        """The coordinator's own protocol object, for as long as it plays honestly."""
        return self.first.server

    @property
    def sites(self) -> tuple[Site, ...]:
        return tuple(attempt.site for attempt in self.real.values())

    def ask(self, name: ClientId, instruction: ServerMessage | None) -> ClientMessage:
        """What a member answers; a real one must not refuse."""
        attempt = self.real.get(name)
        if attempt is None:
            client = self.first.others[name]
            return client.advertise() if instruction is None else client.answer(instruction, self.first.nothing())
        mark = attempt.site.mark()
        if instruction is None:
            attempt.begin()
        else:
            attempt.instruct(instruction)
        left = attempt.site.left_since(mark)
        assert not left.refusals, left.refusals
        for header, data in left.vectors:
            message = decode_message(header.message)
            assert isinstance(message, MaskedInputHeader)
            return message.with_words(RingVector.from_bytes(attempt.parameters, data))
        [answer] = left.messages
        assert isinstance(answer, ClientMessage)
        return answer

    def reach(self, step: Step) -> None:
        """Play honestly up to a step."""
        while self.server.step is not step:
            for name in sorted(self.server.expected):
                self.server.receive(self.ask(name, self.server.instruction_for(name)))
            self.server.close_step()

    def assert_nothing_was_released(self) -> None:
        """No real node has sent a share that opens anything."""
        for site in self.sites:
            assert not [item for item in site.left_since((0, 0)).messages if isinstance(item, Unmasking)]
            assert site.audit("round.unmasked") == []
