"""Sums of ciphertexts under the key of a custodian: who signs what, and what each side checks.

Three parties, none of which can see a single contribution: members pad (or mask) and encrypt, the coordinator
collects ciphertexts and knows the pads but no key, the custodian holds the key and opens sums only. See
`SealedClient`, `SealedServer` and `check_request` for the three sides; where masks are inside the ciphertexts
(`MaskingServer` with ``hidden=True``) only the statements and `check_request` are used. `run_sealed_round` plays all
parties.

It leaves out encryption itself (`fedseal_crypto.homomorphic`), transport and storage. Coordinator and custodian
together can open every contribution that is padded only; they cannot where masks are inside.
"""

from fedseal_crypto.custody._checks import Statements, check_seen
from fedseal_crypto.custody._client import (
    SEALED_TRANSITIONS,
    SealedClient,
    SealedEvent,
    SealedState,
    masked_parcel,
    sign_input,
)
from fedseal_crypto.custody._messages import (
    MASKED_INSIDE,
    NOTHING_BESIDE,
    Commitment,
    CommitmentList,
    Parcel,
    SealedInput,
    SumRequest,
    beside_digest,
    holds_parcel,
)
from fedseal_crypto.custody._pads import add_pad, pads_taken
from fedseal_crypto.custody._request import Expected, check_request
from fedseal_crypto.custody._round import Collected, Custody, collect_sealed, open_sealed, run_sealed_round
from fedseal_crypto.custody._server import SEALED_SERVER_TRANSITIONS, SealedMessage, SealedServer

__all__ = [
    "MASKED_INSIDE",
    "NOTHING_BESIDE",
    "SEALED_SERVER_TRANSITIONS",
    "SEALED_TRANSITIONS",
    "Collected",
    "Commitment",
    "CommitmentList",
    "Custody",
    "Expected",
    "Parcel",
    "SealedClient",
    "SealedEvent",
    "SealedInput",
    "SealedMessage",
    "SealedServer",
    "SealedState",
    "Statements",
    "SumRequest",
    "add_pad",
    "beside_digest",
    "check_request",
    "check_seen",
    "collect_sealed",
    "holds_parcel",
    "masked_parcel",
    "open_sealed",
    "pads_taken",
    "run_sealed_round",
    "sign_input",
]
