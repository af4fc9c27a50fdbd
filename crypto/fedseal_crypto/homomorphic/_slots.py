"""How the words of a layout become slots of plaintexts, with room for the carries of a cohort.

Without masks a narrow word is one slot: its lanes already have the carries' room. With masks inside (`hybrid`) a
narrow word is uniform modulo 2^w, and the sum of n such words needs w + ceil(log2 n) bits, so w is the slot less
those bits; masking works modulo 2^64, and reducing modulo 2^w is a ring homomorphism, so the masks still cancel.
Wide words (the check word, and sums too large for a slot) are cut into limbs with room for the carries; their
sum modulo 2^64 is put together again.

    slots: limb 0 of all wide words, limb 1, ...; then the narrow words.

Packing several values in one slot is that of BatchCrypt (Zhang et al., ATC 2020), for a scheme with exact slots.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from fedseal_crypto.encoding import Layout, LayoutInvalid, RingMismatch, RingShape, RingVector, VectorSpec
from fedseal_crypto.homomorphic._errors import CohortUnsupported, DecryptionInconsistent, WordsOutOfRange
from fedseal_crypto.homomorphic._frames import HEADER_BYTES
from fedseal_crypto.homomorphic._parameters import Parameters, Scheme

_WORD = 64
Slots = NDArray[np.uint64]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SlotPlan:
    """How the words of a contribution become slots; `plan_slots` makes it, and its fields are all of it.

    Who only decrypts needs no layout: these fields, sent along, are enough.

    Attributes:
        parameters: The BFV set.
        shape: Of the ring vectors: one run of 64-bit words.
        cohort: The most contributions in one sum.
        wide_words: How many words from the first on may use all 64 bits; at least the check word.
        masked: Whether the words are uniform modulo 2^64, by masks or pads that somebody else takes off (`hybrid`).

    Raises:
        CohortUnsupported: The parameters are not exact for so many contributions, or are not BFV.
        LayoutInvalid: The shape is another one, or has fewer words than `wide_words`.
    """

    parameters: Parameters
    shape: RingShape
    cohort: int
    wide_words: int
    masked: bool

    def __post_init__(self) -> None:
        _check_cohort(self.parameters, self.cohort)
        runs = self.shape.runs
        if len(runs) != 1 or runs[0].bits != _WORD or not 1 <= self.wide_words <= runs[0].count:
            raise LayoutInvalid("encrypted vectors have one run of 64-bit words, of which the first ones are wide.")

    @property
    def narrow_bits(self) -> int:
        """Bits of a narrow word; with masks, words and sums are reduced modulo 2^narrow_bits."""
        return self.parameters.slot_bits - (_carry_bits(self.cohort) if self.masked else 0)

    @property
    def limb_bits(self) -> int:
        """Bits of a limb of a wide word."""
        return self.parameters.slot_bits - _carry_bits(self.cohort)

    @property
    def limbs(self) -> int:
        """Limbs of a wide word."""
        return -(-_WORD // self.limb_bits)

    @property
    def slot_count(self) -> int:
        """Slots of one contribution."""
        return self.shape.runs[0].count + (self.limbs - 1) * self.wide_words

    @property
    def chunks(self) -> int:
        """Ciphertexts of one contribution."""
        return -(-self.slot_count // self.parameters.slots)

    @property
    def bundle_bytes(self) -> int:
        """Exact size of one encrypted contribution, or of a sum."""
        return HEADER_BYTES + self.chunks * self.parameters.chunk_bytes

    def to_slots(self, vector: RingVector) -> Slots:
        """The slots of one contribution, each below 2^slot_bits divided by the room for carries.

        Raises:
            RingMismatch: The vector is of another layout.
            WordsOutOfRange: Without masks, a word has bits above its lanes.
        """
        self._check(vector)
        words = vector.segments[0].astype(np.uint64, copy=False)
        wide, narrow = words[: self.wide_words], words[self.wide_words :]
        mask = np.uint64((1 << self.limb_bits) - 1)
        parts = [(wide >> np.uint64(self.limb_bits * limb)) & mask for limb in range(self.limbs)]
        limit = np.uint64((1 << self.narrow_bits) - 1)
        if self.masked:
            narrow = narrow & limit
        elif narrow.size and narrow.max() > limit:
            raise WordsOutOfRange("a word does not fit its slot; encode the vector with the plan's layout.")
        return np.concatenate([*parts, narrow])

    def from_slots(self, slots: Slots, *, count: int) -> RingVector:
        """The ring vector whose words are the sums behind `slots`.

        Raises:
            DecryptionInconsistent: A slot holds more than `count` contributions can give.
        """
        wide_words = self.wide_words
        result = RingVector.zeros(self.shape)
        words = result.segments[0]
        for limb in range(self.limbs):
            part = slots[limb * wide_words : (limb + 1) * wide_words]
            if int(part.max()) > count * ((1 << self.limb_bits) - 1):
                raise DecryptionInconsistent(_TOO_LARGE.format(count=count))
            words[:wide_words] += part << np.uint64(self.limb_bits * limb)
        narrow = slots[self.limbs * wide_words :]
        limit = (1 << self.narrow_bits) - 1
        most = count * limit if self.masked else limit
        if narrow.size and int(narrow.max()) > most:
            raise DecryptionInconsistent(_TOO_LARGE.format(count=count))
        words[wide_words:] = narrow & np.uint64(limit)
        return result

    def reduce(self, vector: RingVector) -> RingVector:
        """With masks: the same words with narrow ones modulo 2^narrow_bits, ready for `layout.decode`.

        Raises:
            RingMismatch: The vector is of another layout.
        """
        self._check(vector)
        result = vector.copy()
        narrow = result.segments[0][self.wide_words :]
        narrow &= np.uint64((1 << self.narrow_bits) - 1)
        return result

    def _check(self, vector: RingVector) -> None:
        if vector.shape != self.shape:
            raise RingMismatch("the vector belongs to another layout than the plan.")


_TOO_LARGE = (
    "a decrypted slot is larger than {count} contributions can give: a contribution was out of range, or the "
    "ciphertext is not a sum of this plan."
)


def plan_slots(
    specs: Sequence[VectorSpec], *, cohort: int, parameters: Parameters, masked: bool
) -> tuple[Layout, SlotPlan]:
    """Lay out `specs` for encrypted sums of up to `cohort` contributions.

    Args:
        specs: The vectors of a contribution.
        cohort: The largest number of contributions in one sum.
        parameters: From `parameters_for_sums(cohort)`.
        masked: True if words will be masked or padded (`hybrid`).

    Returns:
        The layout that encodes values and decodes sums, and the plan that encrypts what it encodes.

    Raises:
        CohortUnsupported: The parameters are not exact for so many contributions, or are not BFV.
        LayoutInvalid: As `Layout.plan`.
    """
    _check_cohort(parameters, cohort)
    bits = parameters.slot_bits - (_carry_bits(cohort) if masked else 0)
    layout = Layout.plan(specs, cohort=cohort, slot_bits=bits)
    plan = SlotPlan(
        parameters=parameters, shape=layout.shape, cohort=cohort, wide_words=layout.wide_words, masked=masked
    )
    return layout, plan


def lift_masks(decrypted: RingVector, masks: RingVector, plan: SlotPlan) -> RingVector:
    """Take the masks off a decrypted sum.

    Args:
        decrypted: The sum of the masked words, from the custodian.
        masks: Minus the sum of the masks: what taking masks out of a sum that is zero gives.
        plan: Of the job.

    Raises:
        LayoutInvalid: The plan is without masks.
        RingMismatch: A vector is of another layout.
    """
    if not plan.masked:
        raise LayoutInvalid("this plan is without masks; there is nothing to take off.")
    total = decrypted.copy()
    total.add_in_place(masks)
    return plan.reduce(total)


def _check_cohort(parameters: Parameters, cohort: int) -> None:
    if parameters.scheme is not Scheme.BFV or not 1 <= cohort <= parameters.maximum_cohort:
        raise CohortUnsupported(
            f"parameters {parameters.name!r} do not hold exact sums of {cohort} contributions; "
            "take those of parameters_for_sums."
        )


def _carry_bits(cohort: int) -> int:
    """ceil(log2 n): what the sum of n numbers needs more than one of them."""
    return (cohort - 1).bit_length()
