"""Size limits of everything that crosses the wire, each with its reason.

A limit is checked before the bytes are parsed; exceeding one is the peer's fault and ends the call.
"""

CHUNK_BYTES = 1 << 20
"""Streams carry pieces of this size: the fastest measured over TLS on loopback, and 64 times below gRPC's limit."""

MESSAGE_BYTES = 8 << 20
"""One protobuf message. The largest is a roster of 500 members with certificates, about 1 MB."""

DOCUMENT_BYTES = 1 << 20
"""A signed job or policy file with its certificates; files themselves may have 256 KiB."""

MASKING_MESSAGE_BYTES = 4 << 20
"""One masking message without the masked vector: shares for 500 holders are about 100 KB."""

VECTOR_BYTES = 4 << 30
"""One masked vector: a thousand million parameters at four bytes."""

ARTEFACT_BYTES = 4 << 30
"""One broadcast or exported model."""

CERTIFICATE_BYTES = 16 << 10
"""One PEM certificate."""

REVOCATION_BYTES = 4 << 20
"""A revocation list: about 100 000 serials."""

ROSTER_MEMBERS = 10_000
"""Members named in one round."""

OPEN_JOBS = 1_000
"""Jobs of which one node can ask at once whether they have ended."""

FEDERATION_POLICIES = 100
"""Policies of the federation that one instruction hands out; a federation has a few, each with some versions."""

TEXT_CHARACTERS = 4_000
"""Any sentence, name or code in a message."""

PUBLIC_KEY_BYTES = 40 << 20
"""The public keys of a job: about 130 KB for sums, and 20 MB more where its method has scalars."""

SUM_REQUEST_BYTES = 6 << 20
"""A request to open a sum: 500 commitments and statements are about 150 KB."""
