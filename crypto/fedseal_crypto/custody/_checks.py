"""Checks that members, coordinator and custodian make on signed statements; each side makes them itself."""

from collections.abc import Mapping
from typing import final

from fedseal_crypto.custody._messages import MASKED_INSIDE, Commitment, CommitmentList, SealedInput
from fedseal_crypto.identity import PublicIdentity, SignatureInvalid
from fedseal_crypto.masking import ClientId, CohortTooSmall, InputRefused, RoundParameters, SignatureRefused, Step
from fedseal_crypto.masking._errors import ParametersInvalid, UnknownMember, Violation
from fedseal_crypto.masking._members import COORDINATOR, check_context


@final
class Statements:
    """Verifies the statements of one attempt under one key.

    Args:
        parameters: The attempt.
        identities: At least every member of the roster.
        key: Digest of the custodian's public key, 32 bytes.

    Raises:
        ParametersInvalid: A member has no identity.
    """

    def __init__(self, parameters: RoundParameters, identities: Mapping[ClientId, PublicIdentity], key: bytes) -> None:
        missing = [member for member in parameters.roster if member not in identities]
        if missing:
            raise ParametersInvalid(f"the member {missing[0]!r} has no certified identity.")
        self.parameters = parameters
        self.key = key
        self.context0 = parameters.context0()
        self._identities = {member: identities[member] for member in parameters.roster}

    def require_member(self, client: ClientId, step: Step) -> None:
        """Refuse a party that is not in the roster.

        Raises:
            UnknownMember: It is not.
        """
        if client not in self._identities:
            raise UnknownMember(
                Violation(step=step, party=client, got="a statement by it", expected="a member of the roster")
            )

    def check(self, statement: Commitment | SealedInput) -> None:
        """Check one statement's context, key, sender and signature.

        Raises:
            ProtocolViolation: One of them is wrong.
        """
        step = Step.ADVERTISE if isinstance(statement, Commitment) else Step.MASK
        check_context(statement.context0, self.context0, step=step, party=statement.client)
        if statement.key != self.key:
            raise InputRefused(
                Violation(
                    step=step,
                    party=statement.client,
                    got=f"a ciphertext under the key {statement.key.hex()[:16]}…",
                    expected=f"the job's key {self.key.hex()[:16]}…",
                )
            )
        self.require_member(statement.client, step)
        try:
            self._identities[statement.client].verify(statement.signature, statement.signed())
        except SignatureInvalid as error:
            raise SignatureRefused(
                Violation(
                    step=step,
                    party=statement.client,
                    got=f"a {type(statement).__name__} whose signature does not verify",
                    expected="a signature by the member's certified identity",
                )
            ) from error

    def check_list(self, commitments: CommitmentList) -> dict[ClientId, bytes]:
        """Check a list of commitments; the committed digests by member.

        Raises:
            ProtocolViolation: A commitment is wrong, or there are fewer than a sum must have.
        """
        check_context(commitments.context0, self.context0, step=Step.ADVERTISE, party=COORDINATOR)
        for item in commitments.commitments:
            self.check(item)
        self.require_enough(len(commitments.commitments), Step.ADVERTISE)
        return {item.client: item.digest for item in commitments.commitments}

    def require_enough(self, present: int, step: Step) -> None:
        """Refuse fewer members than a sum must have.

        Raises:
            CohortTooSmall: There are fewer.
        """
        if present < self.parameters.smallest_sum:
            raise CohortTooSmall(
                Violation(
                    step=step,
                    party=COORDINATOR,
                    got=f"{present} contributions",
                    expected=f"at least {self.parameters.smallest_sum}",
                )
            )


def check_seen(sealed: SealedInput, commitments: CommitmentList | None, committed: Mapping[ClientId, bytes]) -> None:
    """Refuse a ciphertext that was not committed to, or whose sender saw another list.

    Raises:
        InputRefused: One of these holds.
    """
    expected = MASKED_INSIDE if commitments is None else commitments.digest()
    if sealed.commitments != expected:
        raise InputRefused(
            Violation(
                step=Step.MASK,
                party=sealed.client,
                got=f"a statement over the commitments {sealed.commitments.hex()[:16]}…",
                expected=f"the list {expected.hex()[:16]}… that all members saw",
            )
        )
    if commitments is not None and committed.get(sealed.client) != sealed.digest:
        raise InputRefused(
            Violation(
                step=Step.MASK,
                party=sealed.client,
                got="a ciphertext that it did not commit to",
                expected="the ciphertext whose digest it signed before anybody sent one",
            )
        )
