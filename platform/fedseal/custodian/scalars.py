"""Everything a custodian checks before it opens numbers about single contributions, and the opening.

(1) to (3) of `fedseal.custodian.opening`, and the layout, as for a sum over all who are named;
(4) the numbers are some of those that the job's method may name, under the job's second key, for vectors of a stated
    norm, and their noise is for all that the job may ever open;
(5) every member signed exactly these numbers together with its second ciphertext;
(6) they were not opened before in this round: one of each name of each node, whatever the attempt;
(7) what is opened are the ciphertexts that the request names;
(8) products with vectors of the round before are with those about which this custodian opened numbers then, of the
    same node, of the same shape and within their bound; for others there is none.

The custodian never has the second ciphertexts: it could decrypt them. So it cannot tell that a number is computed from
one of them, and a hostile coordinator can have as many other numbers opened. Each node is handed what was signed about
it and compares.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fedseal.custodian.opening import Asked, Fetch, Openable, Rules, require_checked, stage_of
from fedseal.errors import PeerFault
from fedseal.protection.scalars import (
    OpenedScalars,
    Operands,
    ScalarRoll,
    ScalarTerms,
    most_scalars,
    names_of,
    request_digest,
    terms_digest,
)
from fedseal.rounds import RoundAddress
from fedseal.wire._generated import custody_pb2 as pb
from fedseal.wire.limits import ROSTER_MEMBERS
from fedseal_crypto.custody import beside_digest
from fedseal_crypto.homomorphic import (
    DecryptionInconsistent,
    PublicContext,
    SecretContext,
    decrypt_scalar,
    scalar_bytes,
)
from fedseal_governance.runs import RoundKey

EVERYBODY = ""
"""Stands for the member in a request for the encrypted scalars, which are one file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedScalars:
    """A request to open scalars, parsed; nothing in it is trusted yet."""

    asked: Asked
    terms: ScalarTerms
    operands: tuple[Operands, ...]

    @classmethod
    def from_wire(cls, task: pb.OpenScalars) -> "AskedScalars":
        """Parse within limits.

        Raises:
            PeerFault: a field is outside its limits.
            PeerError: the request cannot be read.
        """
        asked = Asked.from_wire(
            pb.OpenSum(address=task.address, request=task.request, member_certificates=list(task.member_certificates))
        )
        earlier = tuple(task.earlier) or (b"",) * len(task.ciphertexts)
        named = all(len(item) == 32 for item in task.ciphertexts) and all(len(item) in (0, 32) for item in earlier)
        if not named or len(earlier) != len(task.ciphertexts) or len(earlier) > ROSTER_MEMBERS:
            sentence = "the second ciphertexts of a request for scalars are not named by digests"
            raise PeerFault(sentence)
        pairs = zip(task.ciphertexts, earlier, strict=True)
        operands = tuple(Operands(ciphertext=own, earlier=before) for own, before in pairs)
        return cls(asked=asked, terms=ScalarTerms.decode(task.terms), operands=operands)

    @property
    def request(self) -> str:
        """Digest of everything that is asked."""
        return request_digest(self.asked.request, self.terms, self.operands)

    @property
    def key(self) -> RoundKey:
        """The attempt, as the database names it."""
        address = self.asked.address
        return RoundKey(job=address.job, stage=address.stage, round=address.round, attempt=address.attempt)


def check_scalars(asked: AskedScalars, public: PublicContext, scalars: PublicContext, rules: Rules) -> Openable:
    """(1) to (5), and (8).

    Raises:
        RefusalError, GovernanceError: this custodian's own rules forbid it; the sentence says which.
        PeerFault, PeerError: the request fails a check.
    """
    openable, signed = require_checked(asked.asked, public, rules)  # (1) to (3)
    address, terms, request = asked.asked.address, asked.terms, asked.asked.request
    stage = stage_of(address, signed)
    unnamed = {term.name for term in terms.scalars} - set(names_of(stage.method))
    if unnamed:
        sentence = f"{address}: the method {stage.method.name} does not disclose {', '.join(sorted(unnamed))}"
        raise PeerFault(sentence)
    least = most_scalars(stage.method, rounds=stage.rounds, nodes=len(signed.document.nodes))
    if terms.key != scalars.key_digest or terms.decryptions < least:
        sentence = f"{address}: the scalars are asked under another key, or with less noise than the job's needs"
        raise PeerFault(sentence)  # (4)
    commitments = () if request.commitments is None else request.commitments.commitments
    committed = {item.client: item.beside for item in commitments}
    if len(asked.operands) != len(request.inputs):
        sentence = f"{address}: {len(request.inputs)} contributions and {len(asked.operands)} second ciphertexts"
        raise PeerFault(sentence)
    for sealed, own in zip(request.inputs, asked.operands, strict=True):
        if committed.get(sealed.client) != beside_digest(terms.encode(), own.ciphertext, own.earlier):
            sentence = f"{address}: {sealed.client} did not agree to these numbers about that ciphertext"
            raise PeerFault(sentence)  # (5)
    _check_earlier(asked, rules)  # (8)
    return openable


def _check_earlier(asked: AskedScalars, rules: Rules) -> None:
    address, terms = asked.asked.address, asked.terms
    before: dict[str, bytes] = {}
    if terms.earlier is not None:
        if terms.earlier != address.round - 1:
            sentence = f"{address}: products are with vectors of the round before, not of round {terms.earlier + 1}"
            raise PeerFault(sentence)
        before = {
            opened.node: bytes.fromhex(opened.ciphertext)
            for opened in rules.ledger.opened_scalars(address.job, address.stage, terms.earlier)
            if opened.shape == terms.shape and None not in opened.values.values()
        }
    for sealed, own in zip(asked.asked.request.inputs, asked.operands, strict=True):
        if own.earlier != before.get(sealed.client, b""):
            sentence = (
                f"{address}: the product for {sealed.client} is asked with another vector than the one about which "
                "numbers were opened in the round before"
            )
            raise PeerFault(sentence)
        if own.earlier == own.ciphertext:
            sentence = f"{address}: the product for {sealed.client} is asked of one and the same ciphertext"
            raise PeerFault(sentence)


def open_scalars(
    asked: AskedScalars, secret: SecretContext, fetch: Fetch, *, federation: str, now: datetime
) -> tuple[OpenedScalars, ...]:
    """(7), and the numbers, flooded: one statement for each node, unsigned.

    Raises:
        PeerFault, PeerError: what is fetched is not what the request names.
    """
    terms, request, address = asked.terms, asked.asked.request, asked.asked.address
    plan, size = terms.plan, scalar_bytes(terms.plan)
    data = _fetched(fetch, address, size * sum(len(terms.about(own.earlier)) for own in asked.operands))
    if hashlib.sha256(data).digest() != request.sum_digest:
        sentence = f"{address}: the coordinator sent other encrypted scalars than it asked for"
        raise PeerFault(sentence)
    statements = []
    parts = (data[place : place + size] for place in range(0, len(data), size))
    for number, own in enumerate(asked.operands):
        values: dict[str, float | None] = {}
        for term in terms.about(own.earlier):
            try:
                values[term.name] = decrypt_scalar(
                    secret,
                    next(parts),
                    operation=term.operation,
                    content=term.content(plan, own.ciphertext, own.earlier),
                    plan=plan,
                    flooding=terms.flooding,
                    public_vector=term.other,
                )
            except DecryptionInconsistent:
                values[term.name] = None
        if None in values.values():  # a vector beyond its norm: its other numbers are not covered by the noise
            values = dict.fromkeys(values)
        statements.append(_statement(asked, number, values, federation=federation, now=now))
    return tuple(statements)


def roll_of(asked: AskedScalars, *, federation: str) -> ScalarRoll:
    """The members of the round that are not in the request, unsigned."""
    address, request = asked.asked.address, asked.asked.request
    present = {sealed.client for sealed in request.inputs}
    return ScalarRoll(
        federation=federation,
        job=address.job,
        stage=address.stage,
        round=address.round,
        attempt=address.attempt,
        request=asked.request,
        absent=tuple(str(client) for client in request.parameters.roster if client not in present),
    )


def _statement(
    asked: AskedScalars, number: int, values: dict[str, float | None], *, federation: str, now: datetime
) -> OpenedScalars:
    address, terms, own = asked.asked.address, asked.terms, asked.operands[number]
    return OpenedScalars(
        federation=federation,
        job=address.job,
        stage=address.stage,
        round=address.round,
        attempt=address.attempt,
        node=str(asked.asked.request.inputs[number].client),
        request=asked.request,
        key=terms.key,
        terms=terms_digest(terms),
        shape=terms.shape,
        ciphertext=own.ciphertext.hex(),
        earlier=own.earlier.hex() or None,
        values=values,
        errors={term.name: terms.error(term) for term in terms.about(own.earlier)},
        at=now.isoformat(timespec="milliseconds"),
    )


def _fetched(fetch: Fetch, address: RoundAddress, size: int) -> bytes:
    path: Path = fetch(address, EVERYBODY, size)
    try:
        return path.read_bytes()
    finally:
        path.unlink(missing_ok=True)
