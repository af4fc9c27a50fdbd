"""Trust in nodes by how they answer probes: the scores of RECESS (Yan et al. 2023, NeurIPS), without vectors.

A node that started from w + c g_i answers with h_i. From three numbers about the two:

    S_i     = <g_i, h_i> / (|g_i| |h_i|)                        consistency
    alpha_i = -S_i u / min(max(|h_i|, u l), u L)                abnormality
    TS_i    = min(TS_0, TS_i - b alpha_i)                       trust; removed for good once TS_i <= 0

The published alpha_i is -S_i / |h_i|: u = 1 here, without bounds. That makes b depend on the length of updates; so u is
the median length of the answers unless a number is given, and an answer counts as at least l and at most L times as
long. The bound TS_0 from above is not in the paper either: without it trust grows without end and the weights
exp(TS_i) fall to a few nodes. See docs/decisions/0067-probes-and-trust.md.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedseal.learning.tensors import NamedTensors

NOISE = 0.01
"""Share of the median length below which an answer is none: its direction is lost in the error of the numbers."""
MOST_OVER_EQUAL = 2.0
"""No weight is more than this multiple of an equal one."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Three numbers about one node's answer.

    Attributes:
        before: |g|^2 of what the node contributed before, not below 0.
        answer: |h|^2 of its answer, not below 0.
        product: <g, h>.
    """

    before: float
    answer: float
    product: float

    @property
    def length(self) -> float:
        """|h|."""
        return math.sqrt(self.answer)

    @property
    def consistency(self) -> float:
        """S, from -1 to 1; 0 if one of the two is zero."""
        lengths = math.sqrt(self.before) * self.length
        return min(1.0, max(-1.0, self.product / lengths)) if lengths > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRule:
    """How answers change trust.

    Attributes:
        decrease: b.
        most: TS_0, where trust starts and its bound from above.
        unit: u; 0 for the median length of the answers.
        shortest: l, at most 1.
        longest: L, at least 1.
    """

    decrease: float
    most: float
    unit: float
    shortest: float
    longest: float

    def abnormality(self, answer: Answer, unit: float) -> float:
        """alpha, above 0 for an answer that turns against the probe."""
        length = min(max(answer.length, unit * self.shortest), unit * self.longest)
        return -answer.consistency * unit / length


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """The scores of all nodes of a job, in the job's order; float64 arrays of shape (nodes,).

    Attributes:
        score: TS.
        answered: 1 for a node that answered the last probe, or has not been probed yet.
        answers: How many probes each answered.
        consistency: Sum of S over these.
        removed: After how many probes each was removed; 0 for a node that is not.
        probes: Of the whole job so far, shape (1,).
    """

    score: Floats
    answered: Floats
    answers: Floats
    consistency: Floats
    removed: Floats
    probes: Floats

    @classmethod
    def at_first(cls, nodes: int, most: float) -> "Trust":
        """Before any probe."""
        zeros = np.zeros(nodes)
        return cls(
            score=np.full(nodes, most),
            answered=np.ones(nodes),
            answers=zeros,
            consistency=zeros,
            removed=zeros,
            probes=np.zeros(1),
        )

    @classmethod
    def of(cls, tensors: NamedTensors) -> "Trust":
        """Inverse of `tensors`."""
        return cls(**{name: np.asarray(tensors[name], np.float64) for name in cls.__slots__})

    def tensors(self) -> dict[str, Floats]:
        """As a method keeps it in its state."""
        return {name: getattr(self, name) for name in type(self).__slots__}

    @property
    def alive(self) -> NDArray[np.bool_]:
        """Who is not removed."""
        return np.asarray(self.score > 0)

    def after(self, answers: Mapping[int, Answer], rule: TrustRule) -> "Trust":
        """After a probe.

        Args:
            answers: By place of the node; who is not in it did not answer. Those of removed nodes are not read.
            rule: How they count.
        """
        heard = {place: answer for place, answer in answers.items() if self.score[place] > 0}
        median = statistics.median(answer.length for answer in heard.values()) if heard else 0.0
        clear = {
            place: answer
            for place, answer in heard.items()
            if answer.length > NOISE * median and answer.before > (NOISE * median) ** 2
        }
        score, answered = self.score.copy(), np.zeros_like(self.answered)
        count, consistency, removed = self.answers.copy(), self.consistency.copy(), self.removed.copy()
        for place, answer in clear.items():
            score[place] = min(rule.most, score[place] - rule.decrease * rule.abnormality(answer, rule.unit or median))
            answered[place] = 1.0
            count[place] += 1
            consistency[place] += answer.consistency
            removed[place] = 0.0 if score[place] > 0 else self.probes[0] + 1
        return replace(
            self,
            score=score,
            answered=answered,
            answers=count,
            consistency=consistency,
            removed=removed,
            probes=self.probes + 1,
        )


def weights(scores: Sequence[float]) -> list[float]:
    """p_i = exp(TS_i) / sum of exp(TS_j) over those alive, 0 for the rest; all alive alike if one were too heavy.

    No weight is more than `MOST_OVER_EQUAL` over the number of those alive, so that no weighting picks one out.
    """
    alive = [score for score in scores if score > 0]
    if not alive:
        return [0.0] * len(scores)
    top = max(alive)
    powers = [math.exp(score - top) if score > 0 else 0.0 for score in scores]
    shares = [power / sum(powers) for power in powers]
    if max(shares) <= MOST_OVER_EQUAL / len(alive):
        return shares
    return [1.0 / len(alive) if score > 0 else 0.0 for score in scores]
