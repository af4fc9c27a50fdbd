"""Identities, signatures, Merkle trees, fixed-point encoding and the masking protocol.

Nothing here touches a socket, a file, a clock, a database or global randomness: time and entropy are
arguments, so that every function can be checked against known-answer vectors.
"""
