"""The names, limits and description of an exported audit bundle.

A bundle is a folder or a zip file with exactly these members:

- `entries.jsonl`: each entry's exact RFC 8785 bytes, one a line, each line ended by a newline;
- `leaves`: each entry's leaf hash in lower-case hexadecimal, one a line. It adds no trust: its root must be
  the checkpoint's. It lets a verifier name the first entry that is wrong;
- `checkpoint`: the signed note over all entries, with the witnesses' cosignatures;
- `keys.txt`: verifier keys, one a line: the log's first, then those of the witnesses that cosigned;
- `README.txt`: this, for a person who finds the bundle years later;
- `verify.py`: a verifier that needs neither fedseal nor anything but the package `cryptography` (`verifier`);
- `documents/<sha256>`: documents that entries refer to by digest, under their digests.
"""

from typing import Final

ENTRIES: Final = "entries.jsonl"
LEAVES: Final = "leaves"
CHECKPOINT: Final = "checkpoint"
KEYS: Final = "keys.txt"
README: Final = "README.txt"
VERIFIER: Final = "verify.py"
DOCUMENTS: Final = "documents/"

REQUIRED: Final = frozenset({ENTRIES, CHECKPOINT, KEYS})
"""`leaves` may be missing, as from other exporters; then a wrong entry may be impossible to name."""

MAX_SMALL: Final = 64 * 1024
"""Bytes of checkpoint, keys and README: a note with 128 signatures has under 32 KiB."""

MAX_DOCUMENT: Final = 64 * 1024 * 1024
"""Bytes of one document; policies and records are far smaller, and verifying must stay bounded."""

MAX_DOCUMENTS: Final = 100_000
"""Documents of one bundle; a federation of a thousand jobs has a few thousand."""

MAX_LEAF_LINE: Final = 65
"""Bytes of a line in `leaves`: 64 hexadecimal digits and a newline."""

README_TEXT: Final = """\
fedseal audit bundle, format 1

This is one party's audit log up to one signed checkpoint. To verify it with fedseal installed:

    fedseal audit verify THIS_BUNDLE

Without fedseal, with Python 3.11 and the package cryptography (about 300 lines, written to be read):

    python verify.py THIS_BUNDLE

Who made the bundle also put verify.py into it. If you doubt them, take it from a source that you trust:
`fedseal audit verifier --out verify.py` writes the same file. Or write your own, from this text alone:

entries.jsonl
    One entry a line: a JSON object in RFC 8785 canonical form with the fields seq (from 0 without gaps), time
    (RFC 3339, UTC, milliseconds), log (the origin below), type, actor, subject and details (an object). A
    time is never smaller than the one before, except in an entry of the type log.clock_set_back.
leaves
    One line for each entry: the lower-case hexadecimal of SHA-256(0x00 || the entry's bytes without its
    newline). The Merkle tree root over these lines must be the checkpoint's; then the first entry whose hash
    differs from its line is the first wrong one. Without this file only the root can be checked.
checkpoint
    A C2SP signed note (c2sp.org/signed-note, c2sp.org/tlog-checkpoint). Its text has three lines: origin,
    number of entries, base64 of the RFC 9162 Merkle tree root over the leaves, whose inner nodes are
    SHA-256(0x01 || left || right). Then an empty line and signature lines: the log's Ed25519 signature
    (type 0x01) and cosignatures by witnesses (c2sp.org/tlog-cosignature, type 0x04).
keys.txt
    The verifier keys, one a line: <name>+<key id>+<base64(type || key)>, the log's first. They are part of
    the bundle and prove nothing by themselves: compare them with keys that you know from elsewhere, for
    example from certificates issued by the federation's authority.
documents/
    Documents that entries name by digest. Each file's name is the SHA-256 of its bytes in lower-case
    hexadecimal, and occurs in at least one entry. A document may be absent; its digest in the log remains. An
    entry of the type document.removed says which document was deleted, when, by whom and under which rule.
"""
