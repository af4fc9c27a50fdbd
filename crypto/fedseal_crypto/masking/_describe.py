"""What follows from a cohort, each number with its formula and source: for people who decide about one.

The numbers themselves come from `_thresholds`, `_graph_finder` and the encoding's `Layout`; nothing is computed
here a second time, so that what is shown is what runs.
"""

from dataclasses import dataclass
from typing import final

from fedseal_crypto.encoding import Layout, VectorSpec
from fedseal_crypto.masking._graph_finder import CORRECTNESS_BITS, SECURITY_BITS
from fedseal_crypto.masking._thresholds import choose_parameters, smallest_sum

COMPUTATIONAL_BITS = 128  # X25519, Ed25519, AES-128 keystream, SHA-256 collisions


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CohortRequest:
    """What a policy and a job say.

    Attributes:
        members: n.
        corrupted_fraction: γ, in [0, 1): members that may collude with the server.
        dropout_fraction: δ, in [0, 1): members that may leave.
        minimum_cohort: Contributions that a sum must have.
        vector: What each member contributes.
    """

    members: int
    corrupted_fraction: float
    dropout_fraction: float
    minimum_cohort: int
    vector: VectorSpec


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """One number that follows.

    Attributes:
        name: In words.
        symbol: As formulas call it, or empty.
        value: The number; `all` for the neighbours on the complete graph.
        unit: Such as `members` or `bits`; empty for a plain number.
        formula: How it is computed.
        source: Where the formula is from.
    """

    name: str
    symbol: str
    value: float | str
    unit: str
    formula: str
    source: str


_HERE = "follows from the definition"
_BONAWITZ = "Bonawitz et al., CCS 2017, section 6.2, in the general form 2t > n + c"
_BELL = "Bell et al., CCS 2020, sections 3 and 4"
_CORRUPTED = ("max(1, floor(γn)); below 10 members at least ceil(n/3) - 1", "a fraction of so few says little")
_LEAST = ("max(t, minimum cohort, c + 2)", "two contributions at worst are not colluders'")


def describe_parameters(request: CohortRequest) -> tuple[Chosen, ...]:
    """Graph, threshold, ring width and size for a cohort.

    Raises:
        ParametersInvalid: No round is possible with these members and fractions.
        LayoutInvalid: The vector's sum does not fit into a ring word.
    """
    return (*_group(request), *_encoding(request), *_security())


def _group(request: CohortRequest) -> tuple[Chosen, ...]:
    group = choose_parameters(
        request.members, corrupted_fraction=request.corrupted_fraction, dropout_fraction=request.dropout_fraction
    )
    sparse = group.neighbours is not None
    least = smallest_sum(threshold=group.threshold, minimum_cohort=request.minimum_cohort, corrupted=group.corrupted)
    if sparse:
        k_from = ("the smallest even k of the search over random Harary graphs", _BELL)
        t_from = ("floor((k + 1 + t1) / 2) + 1, t1: corrupted neighbours, more with 2^-41/n at most", _BELL)
        leave_from = ("floor(δn)", _BELL)
    else:
        k_from = ("n - 1: the complete graph", _HERE)
        t_from = ("floor((n + c) / 2) + 1", _BONAWITZ)
        leave_from = ("n - t", _HERE)
    rows = (
        (*("members that may collude", "c", group.corrupted, "members"), *_CORRUPTED),
        (*("neighbours of a member", "k", group.neighbours or "all", "members"), *k_from),
        (*("threshold of shares", "t", group.threshold, "members"), *t_from),
        (*("members that may leave", "", group.tolerated_dropouts, "members"), *leave_from),
        (*("smallest sum", "", least, "contributions"), *_LEAST),
    )
    return tuple(_chosen(*row) for row in rows)


def _encoding(request: CohortRequest) -> tuple[Chosen, ...]:
    spec = request.vector
    layout = Layout.plan([spec], cohort=request.members)
    segment = layout.segments[0]
    lanes = segment.lanes
    size = lanes.words * segment.word_bits / 8 / spec.length
    packing = "lanes after BatchCrypt (Zhang et al., ATC 2020)"
    rows = (
        ("clip", "B", spec.bound, "", "stated by the method", "values beyond ±B are clipped and counted"),
        ("resolution", "r", spec.resolution, "", "stated by the method", "the error of one value is below r"),
        ("levels on each side of zero", "M", spec.levels, "", "ceil(B / r)", _HERE),
        ("lane", "b", lanes.bits, "bits", "bit length of 2·M·n: a sum of n values never wraps", packing),
        ("ring word", "", segment.word_bits, "bits", "of 16, 24, 32, 64 the one that needs fewest bytes", packing),
        ("values in a word", "", lanes.per_word, "values", "floor(word / b)", packing),
        ("upload of a value", "", size, "bytes", "words · width / values", _HERE),
    )
    return tuple(_chosen(*row) for row in rows)


def _security() -> tuple[Chosen, ...]:
    rows = (
        ("statistical security", "σ", SECURITY_BITS, "bits", "a round fails to protect with at most 2^-σ", _BELL),
        ("correctness", "η", CORRECTNESS_BITS, "bits", "a round fails for want of shares with at most 2^-η", _BELL),
        (
            "computational security",
            "",
            COMPUTATIONAL_BITS,
            "bits",
            "the weakest of X25519, Ed25519, AES-128 and SHA-256",
            "RFC 7748, RFC 8032, FIPS 197, FIPS 180-4",
        ),
    )
    return tuple(_chosen(*row) for row in rows)


def _chosen(name: str, symbol: str, value: float | str, unit: str, formula: str, source: str) -> Chosen:
    return Chosen(name=name, symbol=symbol, value=value, unit=unit, formula=formula, source=source)
