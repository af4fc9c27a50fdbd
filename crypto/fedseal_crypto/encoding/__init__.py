"""Fixed-point encoding of named vectors into a ring, and decoding of their sums.

A method declares its vectors with a bound and a resolution; `Layout.plan` packs them into as few bytes as
sums over the cohort allow; `encode` and `decode` convert. No I/O, no global randomness.
"""

from fedseal_crypto.encoding._errors import (
    LayoutInvalid,
    RingBytesInvalid,
    RingMismatch,
    SumInconsistent,
    ValuesInvalid,
)
from fedseal_crypto.encoding._layout import Encoded, Layout, Segment, VectorSpec
from fedseal_crypto.encoding._ring import RingShape, RingVector, Shaped, WordRun

__all__ = [
    "Encoded",
    "Layout",
    "LayoutInvalid",
    "RingBytesInvalid",
    "RingMismatch",
    "RingShape",
    "RingVector",
    "Segment",
    "Shaped",
    "SumInconsistent",
    "ValuesInvalid",
    "VectorSpec",
    "WordRun",
]
