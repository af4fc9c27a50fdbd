"""What is shown of a cohort is what runs, and each number's formula gives it."""

from collections.abc import Callable

import pytest

from fedseal_crypto.encoding import Layout, LayoutInvalid, VectorSpec
from fedseal_crypto.masking import (
    Chosen,
    CohortRequest,
    ParametersInvalid,
    RoundParameters,
    choose_parameters,
    describe_parameters,
)

VECTOR = VectorSpec(name="update", length=10_000, bound=1.0, resolution=2**-15)


def request_for(members: int, vector: VectorSpec = VECTOR, dropout_fraction: float = 0.1) -> CohortRequest:
    return CohortRequest(
        members=members,
        corrupted_fraction=0.2,
        dropout_fraction=dropout_fraction,
        minimum_cohort=3,
        vector=vector,
    )


def values(members: int) -> dict[str, float | str]:
    return {row.name: row.value for row in describe_parameters(request_for(members))}


@pytest.mark.parametrize("members", [3, 10, 100, 128, 129, 500])
def test_what_is_shown_is_what_a_round_uses(members: int, parameters_for: Callable[..., RoundParameters]) -> None:
    shown = values(members)
    group = choose_parameters(members, corrupted_fraction=0.2, dropout_fraction=0.1)
    assert shown["members that may collude"] == group.corrupted
    assert shown["neighbours of a member"] == (group.neighbours or "all")
    assert shown["threshold of shares"] == group.threshold
    assert shown["members that may leave"] == group.tolerated_dropouts
    assert shown["smallest sum"] == parameters_for(members).smallest_sum
    layout = Layout.plan([VECTOR], cohort=members)
    assert shown["lane"] == layout.segments[0].lanes.bits
    assert shown["ring word"] == layout.segments[0].word_bits
    # The 64-bit check word is part of every upload, not of any value.
    assert shown["upload of a value"] == pytest.approx((layout.wire_bytes - 8) / VECTOR.length)


def test_the_formulas_of_the_complete_graph_give_the_numbers() -> None:
    shown = values(100)
    collude = 100 // 5
    assert shown["members that may collude"] == collude
    assert shown["threshold of shares"] == (100 + collude) // 2 + 1
    assert shown["members that may leave"] == 100 - ((100 + collude) // 2 + 1)
    assert shown["levels on each side of zero"] == 2**15
    assert shown["lane"] == (2 * 2**15 * 100).bit_length()
    assert shown["upload of a value"] == 3.0
    assert (shown["statistical security"], shown["computational security"]) == (40, 128)


def test_every_number_has_a_formula_and_a_source() -> None:
    for members in (10, 500):
        rows: tuple[Chosen, ...] = describe_parameters(request_for(members))
        assert len({row.name for row in rows}) == len(rows)
        assert all(row.formula and row.source for row in rows)


def test_what_cannot_be_is_refused_with_the_reason() -> None:
    with pytest.raises(ParametersInvalid, match="at least 3 are needed"):
        describe_parameters(request_for(2))
    with pytest.raises(ParametersInvalid, match="no graph on 200 members"):
        describe_parameters(request_for(200, dropout_fraction=0.6))
    wide = VectorSpec(name="wide", length=1, bound=2.0**50, resolution=1)
    with pytest.raises(LayoutInvalid, match="64 is the most"):
        describe_parameters(request_for(60_000, vector=wide, dropout_fraction=0.05))
