"""What the custodian checks of a request before it touches a ciphertext.

The custodian trusts nobody's addition: it is given the ciphertexts that members signed and adds them itself.
What is checked here is that these are the right ones: of this job and key, of certified members of one roster,
at least as many as a sum must have, each committed to before any of them was sent (or masked inside).

Against whom: a coordinator alone, or together with members, cannot have a single ciphertext opened, because
every statement is bound to one attempt and the sum is over at least the smallest cohort of them. Ciphertexts
can be subtracted from each other, so a colluding member could otherwise send the negation of the others'; the
commitments rule that out. What the custodian itself could decrypt is hidden by pads or masks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from fedseal_crypto.custody._checks import Statements, check_seen
from fedseal_crypto.custody._messages import SumRequest
from fedseal_crypto.identity import PublicIdentity
from fedseal_crypto.masking import ClientId, ContextMismatch, InputRefused, Step
from fedseal_crypto.masking._errors import Violation
from fedseal_crypto.masking._members import COORDINATOR


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the custodian knows of the job by itself.

    Attributes:
        federation: Its own.
        job_digest: SHA-256 of the job file, hexadecimal.
        key: Digest of the public key that it made for the job, 32 bytes.
        masked: Whether the ciphertexts hold masked vectors.
        minimum_cohort: Fewest contributions in a sum, by its own policy and the job.
    """

    federation: str
    job_digest: str
    key: bytes
    masked: bool
    minimum_cohort: int


def check_request(
    request: SumRequest, expected: Expected, identities: Mapping[ClientId, PublicIdentity]
) -> tuple[ClientId, ...]:
    """Check everything about a request but the ciphertexts; the members in the sum.

    Args:
        request: What the coordinator asks.
        expected: What the custodian knows.
        identities: Certified and of this job, at least every member of the request's roster.

    Raises:
        ProtocolViolation: A rule is broken; the sentence says which and by whom.
    """
    parameters = request.parameters
    for name, got, wanted in (
        ("federation", parameters.federation, expected.federation),
        ("job", parameters.job_digest, expected.job_digest),
    ):
        if got != wanted:
            raise ContextMismatch(_violation(f"a request for the {name} {got[:16]}", f"{name} {wanted[:16]}"))
    if (request.commitments is None) != expected.masked:
        got = "ciphertexts without commitments" if request.commitments is None else "commitments"
        raise InputRefused(_violation(got, "what the job's protection asks"))
    if parameters.minimum_cohort < expected.minimum_cohort:
        raise InputRefused(
            _violation(f"a minimum cohort of {parameters.minimum_cohort}", f"at least {expected.minimum_cohort}")
        )
    statements = Statements(parameters, identities, expected.key)
    committed = {} if request.commitments is None else statements.check_list(request.commitments)
    for sealed in request.inputs:
        statements.check(sealed)
        check_seen(sealed, request.commitments, committed)
    statements.require_enough(len(request.inputs), Step.MASK)
    return tuple(sealed.client for sealed in request.inputs)


def _violation(got: str, expected: str) -> Violation:
    return Violation(step=Step.DONE, party=COORDINATOR, got=got, expected=expected)
