"""Tables of the masking protocol: what follows from a roster's size, and the messages' byte forms."""

from collections.abc import Callable, Mapping

from blocks.markdown import code, table

from fedseal.coordinator.job_run import SMALLEST_COHORT
from fedseal.wire import limits
from fedseal_crypto.encoding import VectorSpec
from fedseal_crypto.masking import CohortRequest, choose_parameters, describe_parameters
from fedseal_crypto.masking import _wire as wire
from fedseal_crypto.masking._thresholds import smallest_sum
from fedseal_governance.policy import DEFAULT_CORRUPTED_FRACTION, DEFAULT_DROPOUT_FRACTION

_DESCRIBED = (10, 100, 500)
_SIZES = (3, 4, 5, 6, 8, 10, 20, 50, 100, 128, 200, 500)

# In the order in which `_wire_write` writes them. A test compares the sizes with real messages.
FIELDS: Mapping[str, str] = {
    "Advertisement": (
        "client (text), context0 (32), identity (32), mask key (32), channel key (32), commitment (32), graph "
        "commitment (sized: 0 or 32), abandoned contexts (list of 32), signature (64)"
    ),
    "Roster": "context0 (32), advertisements (list)",
    "RosterDigests": "context0 (32), list of: member (2), digest (32), graph commitment (32)",
    "Opening": "client (text), context (32), nonce (32)",
    "Openings": "context (32), list of: member (2), nonce (32); then advertisements (list)",
    "ShareBundle": "client (text), context (32), list of: member (2), sealed shares (82); signature (64)",
    "ShareDelivery": "context (32), receiver (text), list of: member (2), sealed shares (82)",
    "MaskedInputHeader": "client (text), context (32), digest (32), signature (64)",
    "Survivors": "context (32), bitmap (sized; bit i, lowest first, is the i-th of the sorted roster)",
    "Confirmation": "client (text), context (32), bitmap (sized), signature (64)",
    "Confirmations": "context (32), confirmations (list)",
    "Unmasking": (
        "client (text), context (32), list of: owner (2), self-mask share (33); list of: owner (2), pairwise share "
        "(33); signature (64)"
    ),
}

_LIMITS = (
    ("protobuf message", limits.MESSAGE_BYTES),
    ("piece of a stream", limits.CHUNK_BYTES),
    ("signed document", limits.DOCUMENT_BYTES),
    ("masking message", limits.MASKING_MESSAGE_BYTES),
    ("broadcast or model", limits.ARTEFACT_BYTES),
    ("certificate", limits.CERTIFICATE_BYTES),
    ("revocation list", limits.REVOCATION_BYTES),
)


def _parameters() -> str:
    rows = []
    for size in _SIZES:
        group = choose_parameters(
            size, corrupted_fraction=DEFAULT_CORRUPTED_FRACTION, dropout_fraction=DEFAULT_DROPOUT_FRACTION
        )
        smallest = smallest_sum(threshold=group.threshold, minimum_cohort=SMALLEST_COHORT, corrupted=group.corrupted)
        rows.append(
            (
                size,
                group.corrupted,
                group.neighbours or "all",
                group.threshold,
                group.tolerated_dropouts,
                smallest,
            )
        )
    header = ("members *n*", "may collude *c*", "neighbours", "threshold *t*", "may leave", "smallest sum")
    return table(header, rows)


def _numbers() -> str:
    vector = VectorSpec(name="update", length=1_000_000, bound=1.0, resolution=2**-15)
    columns = [
        describe_parameters(
            CohortRequest(
                members=members,
                corrupted_fraction=DEFAULT_CORRUPTED_FRACTION,
                dropout_fraction=DEFAULT_DROPOUT_FRACTION,
                minimum_cohort=SMALLEST_COHORT,
                vector=vector,
            )
        )
        for members in _DESCRIBED
    ]
    rows = []
    for same in zip(*columns, strict=True):
        shown = [f"{item.value:.4g}" if isinstance(item.value, float) else str(item.value) for item in same]
        formulas = list(dict.fromkeys(item.formula for item in same))
        sources = list(dict.fromkeys(item.source for item in same))
        name = f"{same[0].name} *{same[0].symbol}*" if same[0].symbol else same[0].name
        rows.append((name, *shown, same[0].unit, "; sparse: ".join(formulas), "; sparse: ".join(sources)))
    header = ("number", *(f"*n* = {members}" for members in _DESCRIBED), "unit", "formula", "source")
    return table(header, rows)


def _messages() -> str:
    kinds = {kind.__name__: number for kind, number in wire._KINDS.items()}  # noqa: SLF001 - the only source
    missing = kinds.keys() ^ FIELDS.keys()
    if missing:
        raise SystemExit(f"docs/blocks/protocol.py: describe the fields of {', '.join(sorted(missing))}")
    return table(
        ("kind", "message", "fields, with their size in bytes"),
        [(number, code(name), FIELDS[name]) for name, number in kinds.items()],
    )


def _wire_limits() -> str:
    return table(("what", "at most, bytes"), [(what, f"{most:,}") for what, most in _LIMITS])


BLOCKS: Mapping[str, Callable[[], str]] = {
    "masking-parameters": _parameters,
    "masking-numbers": _numbers,
    "masking-messages": _messages,
    "wire-limits": _wire_limits,
}
