"""Trust by answers: the formulas by hand, and what no sequence of answers can do."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedseal.methods.trust import MOST_OVER_EQUAL, Answer, Trust, TrustRule, weights

RULE = TrustRule(decrease=0.1, most=1.0, unit=1.0, shortest=1e-9, longest=1e9)
"""As published, with the bound from above."""

lengths = st.floats(0.05, 20.0)
answers = st.builds(
    lambda before, answer, cosine: Answer(before=before**2, answer=answer**2, product=cosine * before * answer),
    lengths,
    lengths,
    st.floats(-1, 1),
)


def answer(cosine: float, length: float = 1.0, before: float = 1.0) -> Answer:
    return Answer(before=before**2, answer=length**2, product=cosine * length * before)


def test_abnormality_by_hand() -> None:
    """g = (3, 4), h = (0, -2): <g, h> = -8, |g| = 5, |h| = 2, so S = -0.8 and alpha = 0.4."""
    given_answer = Answer(before=25.0, answer=4.0, product=-8.0)
    assert given_answer.consistency == pytest.approx(-0.8)
    assert RULE.abnormality(given_answer, 1.0) == pytest.approx(0.4)
    trust = Trust.at_first(1, 1.0).after({0: given_answer}, RULE)
    assert trust.score[0] == pytest.approx(1.0 - 0.1 * 0.4)


def test_an_attacker_of_length_3_that_reverses_fully_lasts_thirty_probes_as_published() -> None:
    """alpha = 1/3, so 0.1/3 of 1 is lost at each; with 0.5 six are enough."""
    for decrease, probes in ((0.1, 30), (0.5, 6)):
        trust, rule = Trust.at_first(1, 1.0), replace(RULE, decrease=decrease)
        while trust.alive[0]:
            trust = trust.after({0: answer(-1.0, length=3.0)}, rule)
        assert trust.probes[0] == pytest.approx(probes, abs=1)  # rounding may leave a last 1e-17
        assert trust.removed[0] == trust.probes[0]


def test_without_a_unit_lengths_count_against_the_median_and_within_bounds() -> None:
    rule = TrustRule(decrease=0.5, most=1.0, unit=0.0, shortest=0.25, longest=3.0)
    honest = {place: answer(0.7, length=0.02, before=0.02) for place in range(5)}
    told = {**honest, 5: answer(-1.0, length=0.2, before=0.2), 6: answer(-1.0, length=0.001, before=0.02)}
    trust = Trust.at_first(7, 1.0).after(told, rule)
    assert trust.score[:5].tolist() == [1.0] * 5, "the same units for updates of any length"
    assert trust.score[5] == pytest.approx(1 - 0.5 / 3), "ten times as long counts as three times"
    assert trust.score[6] <= 0, "a twentieth of the length counts as a quarter: alpha = 4"
    assert trust.alive.tolist() == [True] * 6 + [False]


def test_no_answer_is_remembered_until_there_is_one() -> None:
    trust = Trust.at_first(3, 1.0)
    assert trust.answered.tolist() == [1, 1, 1]
    told = {0: answer(0.5), 1: answer(0.5, length=0.001)}
    missing = trust.after(told, RULE)
    assert missing.answered.tolist() == [1, 0, 0], "an answer in the noise is none"
    assert missing.score.tolist() == [1, 1, 1]
    heard = missing.after({place: answer(0.5) for place in range(3)}, RULE)
    assert heard.answered.tolist() == [1, 1, 1]
    assert heard.answers.tolist() == [2, 1, 1]


def test_the_removed_stay_removed_and_move_nobody() -> None:
    rule = TrustRule(decrease=2.0, most=1.0, unit=0.0, shortest=0.25, longest=3.0)
    first = Trust.at_first(4, 1.0).after({0: answer(-1.0), **{n: answer(0.5) for n in (1, 2, 3)}}, rule)
    assert first.alive.tolist() == [False, True, True, True]
    low = {n: answer(-0.1, length=0.01, before=0.01) for n in (1, 2, 3)}
    second, alone = (first.after(told, rule) for told in ({0: answer(1.0, length=9.0), **low}, low))
    assert second.score.tolist() == alone.score.tolist(), "the median is of those alive"
    assert second.removed.tolist() == [1, 0, 0, 0]


@given(st.lists(answers, min_size=1, max_size=20), st.floats(0.01, 3.0))
def test_trust_has_a_bound_and_consistent_answers_never_lower_it(told: list[Answer], decrease: float) -> None:
    trust, rule = Trust.at_first(1, 1.0), replace(RULE, decrease=decrease)
    for one in told:
        after = trust.after({0: one}, rule)
        assert after.score[0] <= 1.0
        if one.product >= 0:
            assert after.score[0] >= trust.score[0]
        if not trust.alive[0]:
            assert after.score[0] == trust.score[0]
        trust = after


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=50))
def test_no_weight_singles_anybody_out(scores: list[float]) -> None:
    given_weights, alive = weights(scores), sum(score > 0 for score in scores)
    assert sum(given_weights) == pytest.approx(1.0 if alive else 0.0)
    assert all(weight <= MOST_OVER_EQUAL / alive + 1e-12 for weight in given_weights if alive)
    assert all((weight > 0) == (score > 0) for weight, score in zip(given_weights, scores, strict=True))


def test_weights_are_a_softmax_within_the_bound() -> None:
    assert weights([1.0, 0.5, 0.0]) == pytest.approx(
        [math.e / (math.e + math.exp(0.5)), math.exp(0.5) / (math.e + math.exp(0.5)), 0.0]
    )
    assert weights([5.0, 0.1, 0.1]) == pytest.approx([1 / 3] * 3), "one would weigh 0.985"


def test_tensors_there_and_back() -> None:
    trust = Trust.at_first(3, 1.0).after({0: answer(-0.3), 2: answer(0.4)}, RULE)
    again = Trust.of(trust.tensors())
    for name, value in trust.tensors().items():
        np.testing.assert_array_equal(getattr(again, name), value)
