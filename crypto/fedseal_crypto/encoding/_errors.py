"""Errors of the fixed-point encoding, by blame: our caller's values, or bytes and sums that came from others."""

from fedseal_crypto.errors import MisuseError, PeerError


class LayoutInvalid(MisuseError):
    """The described vectors cannot be laid out; the message names the vector and the remedy."""


class ValuesInvalid(MisuseError):
    """The values to encode do not match the layout, or are not finite numbers."""


class RingMismatch(MisuseError):
    """Two ring vectors of different shapes were combined."""


class RingBytesInvalid(PeerError):
    """A buffer that should hold a ring vector has the wrong size."""


class SumInconsistent(PeerError):
    """A decoded sum is impossible: masks did not cancel, or a contribution was out of range."""
