"""A node's own check of the numbers that a custodian opened about its contribution.

The custodian cannot tell whether an encrypted number was computed from the contribution: it never has that ciphertext.
The node has the vector itself. It is handed the custodian's signed statement before the sum is asked for, computes the
numbers again, and takes no further part in the job when one is another, or when the round completes and no statement
came. What it was handed is the evidence, and goes into its log. If its ciphertext came too late, or was refused, the
custodian signs that no number about it was opened, and none of that round can be any more.
"""

from dataclasses import dataclass
from hashlib import sha256

from fedseal.errors import PeerFault
from fedseal.node.local_state import KeptVector
from fedseal.node.sealed import KeyChecks, OwnScalars
from fedseal.protection import Judge
from fedseal.protection.scalars import OwnVectors, own_errors, read_roll, read_scalars, terms_digest
from fedseal.rounds import RoundAddress


class ScalarsWrong(PeerFault):
    """What was opened about this node is not about what it sent, or it was not told.

    Attributes:
        evidence: the statement that it was handed; empty where none came.
    """

    def __init__(self, sentence: str, evidence: bytes = b"") -> None:
        super().__init__(sentence)
        self.evidence = evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalarWatch:
    """What a node waits for after its ciphertexts have left.

    Attributes:
        second: SHA-256 of the second ciphertext.
    """

    address: RoundAddress
    scalars: OwnScalars
    second: str

    @classmethod
    def after(cls, address: RoundAddress, scalars: OwnScalars, ciphertext: bytes) -> "ScalarWatch":
        """Watch over an upload: the first ciphertext, and behind it the second."""
        second = ciphertext[-scalars.terms.plan.bundle_bytes :]
        return cls(address=address, scalars=scalars, second=sha256(second).hexdigest())

    def check_absent(self, roll: bytes, *, custodian: str, name: str, checks: KeyChecks) -> None:
        """Check the custodian's word that it opened no number about this node in the round.

        Raises:
            ScalarsWrong: it says nothing of this node, or of another round.
            PeerError: the custodian's signature or certificate does not verify.
        """
        listed = read_roll(roll, _judge(custodian, checks))
        wanted = {
            "federation": checks.federation,
            "job": self.address.job,
            "stage": self.address.stage,
            "round": self.address.round,
            "attempt": self.address.attempt,
        }
        for field, value in wanted.items():
            if getattr(listed, field) != value:
                raise ScalarsWrong(f"{self.address}: the list of members is of another {field} than this node's", roll)
        if name not in listed.absent:
            sentence = f"{self.address}: numbers were opened about this node, and it was not told which"
            raise ScalarsWrong(sentence, roll)

    @property
    def kept(self) -> KeptVector:
        """What to keep for the next round's products, once the numbers are right."""
        return KeptVector(values=self.scalars.vector, ciphertext=bytes.fromhex(self.second))

    def check(self, statement: bytes, *, custodian: str, name: str, checks: KeyChecks) -> None:
        """Compare what the custodian signed with this node's own vector.

        Raises:
            ScalarsWrong: it is about something else, or a number is not this vector's.
            PeerError: the custodian's signature or certificate does not verify.
        """
        opened = read_scalars(statement, _judge(custodian, checks))
        wanted = {
            "federation": checks.federation,
            "job": self.address.job,
            "stage": self.address.stage,
            "round": self.address.round,
            "attempt": self.address.attempt,
            "node": name,
            "key": self.scalars.terms.key,
            "terms": terms_digest(self.scalars.terms),
            "shape": self.scalars.terms.shape,
            "ciphertext": self.second,
            "earlier": self.scalars.earlier_digest.hex() or None,
        }
        for field, value in wanted.items():
            if getattr(opened, field) != value:
                raise ScalarsWrong(
                    f"{self.address}: numbers were opened about another {field} than this node's", statement
                )
        earlier = None if self.scalars.earlier is None else self.scalars.earlier.values
        own = OwnVectors(vector=self.scalars.vector, earlier=earlier)
        wrong = own_errors(opened, self.scalars.terms, self.scalars.asked, own)
        if wrong:
            raise ScalarsWrong(f"{self.address}: {wrong}; somebody had another number opened in its place", statement)


def _judge(custodian: str, checks: KeyChecks) -> Judge:
    trust = checks.trust
    return Judge(root=trust.root, revocations=trust.revocations, custodian=custodian, now=checks.clock())
