"""Verify an exported audit bundle with nothing but Python 3.11 and the package `cryptography`.

    python verify.py BUNDLE [KEY ...]

BUNDLE is a folder or a zip file; the README.txt in it describes its format. Exit status 0: everything holds; 1: it
does not, and the first wrong entry is named if it can be told; 2: used wrongly.

A bundle brings its own keys. They show that it fits together, not whose it is. Give the log's key as you know it from
elsewhere (a line of keys.txt): then no other is accepted, and only witnesses whose keys you give are counted. For the
same reason do not run the verify.py of a bundle that you doubt: take one from a source that you trust. Checked are:

    (1) the checkpoint is signed by the log's key, and every cosignature of a known witness is right;
    (2) each entry has its leaf hash, and all leaf hashes have the checkpoint's tree root (RFC 9162);
    (3) each entry is canonical JSON (RFC 8785) with its number, its log, and a time that does not run back;
    (4) each document has the SHA-256 that is its name, and an entry names it.
"""

import base64
import hashlib
import json
import re
import stat
import sys
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import IO

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FIELDS = {"seq", "time", "log", "type", "actor", "subject", "details"}
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
DIGEST = re.compile(rb"[0-9a-f]{64}")
NAME = re.compile(r"entries\.jsonl|leaves|checkpoint|keys\.txt|documents/[0-9a-f]{64}")
MAX_ENTRY, MAX_SMALL, MAX_DOCUMENT, MAX_FILES = 16 * 1024, 64 * 1024, 64 * 1024 * 1024, 101_000
DAMAGE = (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError)


class Wrong(Exception):
    """The bundle is wrong; `entry` is the first wrong entry, if it can be told."""

    def __init__(self, message: str, entry: int | None = None) -> None:
        super().__init__(message)
        self.entry = entry


class Bundle:
    """The files of a bundle. Nothing is extracted, links are not followed, and every read has a limit."""

    def __init__(self, path: Path) -> None:
        self.files: dict[str, Path | zipfile.ZipInfo] = {}
        self.archive = None if path.is_dir() else zipfile.ZipFile(path)
        found: Iterable[Path | zipfile.ZipInfo] = chain(path.iterdir(), path.glob("documents/*"))
        for number, file in enumerate(self.archive.infolist() if self.archive else found):
            name = file.relative_to(path).as_posix() if isinstance(file, Path) else file.filename
            if number > MAX_FILES or name in self.files:
                raise Wrong(f"there are too many files, or {name[:80]!r} occurs twice")
            if NAME.fullmatch(name):
                self.files[name] = file

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        file = self.files.get(name)
        if file is None or (isinstance(file, Path) and not stat.S_ISREG(file.lstat().st_mode)):
            raise Wrong(f"{name} is missing, or is not a regular file")
        with file.open("rb") if isinstance(file, Path) else self.archive.open(file) as stream:  # type: ignore[union-attr]
            yield stream

    def text(self, name: str) -> str:
        with self.open(name) as stream:
            data = stream.read(MAX_SMALL + 1)
        if len(data) > MAX_SMALL:
            raise Wrong(f"{name} is too large")
        return data.decode("utf-8")

    def entries(self) -> Iterator[bytes]:
        """Each line without its newline; one that is too long or not ended is spoilt, so that nothing matches it."""
        with self.open("entries.jsonl") as stream:
            while line := stream.readline(MAX_ENTRY + 1):
                yield line[:-1] if line.endswith(b"\n") else line + b"\x00"

    def leaves(self) -> Iterator[bytes]:
        """The leaf hashes; a line that is none gives an empty one, which fits nothing."""
        with self.open("leaves") as stream:
            while line := stream.readline(65):
                yield bytes.fromhex(line[:64].decode()) if re.fullmatch(rb"[0-9a-f]{64}\n", line) else b""


def verify(path: Path, trusted: list[str] | None = None) -> str:
    """Check everything; returns what to print."""
    try:
        bundle = Bundle(path)
        note, keys = bundle.text("checkpoint"), [line for line in bundle.text("keys.txt").split("\n") if line]
        own, size, root, witnesses = check_note(note, keys, trusted or [])  # (1)
        walk = Walk(own.partition("+")[0], bundle)
        walk.entries(size, root)  # (2) (3)
        walk.documents()  # (4)
    except InvalidSignature:
        raise Wrong("a signature on the checkpoint is wrong") from None
    except DAMAGE as error:
        raise Wrong(f"a file is damaged: {error}") from None
    whose = "given by you" if trusted else "from the bundle; compare it with one you know"
    summary = f"{walk.origin}: {size} entries verified, root {root.hex()}, {witnesses} witnesses\nkey: {own} ({whose})"
    documents = f"documents: {len(walk.named)} verified, {len(walk.removed)} removed since"
    return "\n".join([summary, documents, *walk.removed])


# --- signed notes: c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature


def check_note(note: str, keys: list[str], trusted: list[str]) -> tuple[str, int, bytes, int]:
    """The log's key, the number of entries, their root, and how many known witnesses cosigned."""
    text, tail = note.rpartition("\n\n")[0] + "\n", note.rpartition("\n\n")[2]
    lines = text.split("\n")
    own = [vkey for vkey in keys if vkey.partition("+")[0] == lines[0] and read_key(vkey)[2] == 1]
    if len(own) != 1 or (trusted and own[0] not in trusted):
        raise Wrong(f"there is no trusted key of {lines[0][:80]!r}")
    if len(lines) != 4 or re.fullmatch("0|[1-9][0-9]{0,17}", lines[1]) is None or tail[-1:] != "\n":
        raise Wrong("the checkpoint is malformed")
    known = {key[:2]: key[2:] for key in map(read_key, own + (trusted or keys)) if key[2] == 4 or key[0] == lines[0]}
    seen = set()
    for line in tail[:-1].split("\n"):
        name, _, encoded = line.removeprefix("\u2014 ").partition(" ")
        data = from_base64(encoded)
        if not line.startswith("\u2014 ") or not name or any(letter < " " for letter in line):
            raise Wrong("a signature line of the checkpoint is malformed")
        if (name, data[:4]) in known:
            kind, public = known[name, data[:4]]
            stamp, signature = (b"", data[4:]) if kind == 1 else (data[4:12], data[12:])
            before = f"cosignature/v1\ntime {int.from_bytes(stamp)}\n" if kind == 4 else ""
            public.verify(signature, (before + text).encode())
            seen.add((name, data[:4]))
    if read_key(own[0])[:2] not in seen:
        raise Wrong("the log has not signed the checkpoint")
    return own[0], int(lines[1]), from_base64(lines[2]), len(seen) - 1


def read_key(vkey: str) -> tuple[str, bytes, int, Ed25519PublicKey]:
    """Name, key id, type (1: the log's own, 4: a witness's) and public key."""
    name, _, rest = vkey.partition("+")
    key_id, _, encoded = rest.partition("+")
    material = from_base64(encoded)
    expected = hashlib.sha256(name.encode() + b"\n" + material).digest()[:4]
    if len(material) != 33 or key_id != expected.hex():
        raise Wrong(f"the key of {name[:80]!r} is malformed")
    return name, expected, material[0], Ed25519PublicKey.from_public_bytes(material[1:])


def from_base64(text: str) -> bytes:
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise Wrong(f"{text[:40]!r} is not canonical base64")
    return data


# --- entries, their tree (RFC 9162, section 2.1.1), and documents


class Tree:
    """The root of a growing tree: kept are only the full subtrees at its right edge."""

    def __init__(self) -> None:
        self.size, self.peaks = 0, list[tuple[int, bytes]]()

    def add(self, value: bytes) -> None:
        level, self.size = 0, self.size + 1
        while self.peaks and self.peaks[-1][0] == level:
            level, value = level + 1, hashlib.sha256(b"\x01" + self.peaks.pop()[1] + value).digest()
        self.peaks.append((level, value))

    def root(self) -> bytes:
        if not self.peaks:
            return hashlib.sha256(b"").digest()
        value = self.peaks[-1][1]
        for _, left in reversed(self.peaks[:-1]):
            value = hashlib.sha256(b"\x01" + left + value).digest()
        return value


class Walk:
    """The entries from first to last, with what is remembered of them."""

    def __init__(self, origin: str, bundle: Bundle) -> None:
        self.origin, self.bundle, self.time, self.removed = origin, bundle, "", list[str]()
        documents = (name[-64:].encode() for name in bundle.files if name.startswith("documents/"))
        self.named = dict[bytes, int | None].fromkeys(documents)

    def entries(self, size: int, root: bytes) -> None:
        tree, listed = Tree(), self.leaves(size, root) if "leaves" in self.bundle.files else None
        for number, data in enumerate(self.bundle.entries()):
            leaf = hashlib.sha256(b"\x00" + data).digest()
            if number == size or (listed is not None and next(listed, None) != leaf):
                raise Wrong(f"entry {number} is wrong", number)
            self.take(number, data)
            tree.add(leaf)
        if tree.size < size:
            raise Wrong(f"entry {tree.size} is missing", tree.size)
        if tree.root() != root:
            raise Wrong("the entries do not have the checkpoint's root; the wrong one cannot be named")
        if listed is None and "leaves" in self.bundle.files:
            raise Wrong("the file leaves is wrong")

    def leaves(self, size: int, root: bytes) -> Iterator[bytes] | None:
        """The leaf hashes if the checkpoint commits to them: then a wrong entry can be named."""
        tree = Tree()
        for leaf in self.bundle.leaves():
            tree.add(leaf)
            if tree.size > size:
                break
        return self.bundle.leaves() if (tree.size, tree.root()) == (size, root) else None

    def take(self, number: int, data: bytes) -> None:
        entry = parse(data, number)
        time, details = str(entry["time"]), entry["details"]
        kinds = {"seq": int, "details": dict}
        if any(type(value) is not kinds.get(name, str) for name, value in entry.items()) or not TIME.fullmatch(time):
            raise Wrong(f"entry {number} has a field of a wrong type", number)
        if (entry["seq"], entry["log"]) != (number, self.origin):
            raise Wrong(f"entry {number} has another number or log", number)
        if time < self.time and entry["type"] != "log.clock_set_back":
            raise Wrong(f"entry {number} is earlier than the one before", number)
        self.time = time
        for digest in DIGEST.findall(data) if self.named else ():
            if digest in self.named and self.named[digest] is None:
                self.named[digest] = number
        if entry["type"] == "document.removed":
            why = details.get("reason") if isinstance(details, dict) else ""
            told = f"  {entry['subject']} removed on {time} by {entry['actor']}: {why} (entry {number})"
            self.removed.append("".join(letter if letter.isprintable() else "?" for letter in told))

    def documents(self) -> None:
        for digest, number in self.named.items():
            if number is None:
                raise Wrong(f"no entry names the document {digest.decode()}")
            found, size = hashlib.sha256(), 0
            with self.bundle.open(f"documents/{digest.decode()}") as stream:
                while piece := stream.read(1024 * 1024):
                    size += len(piece)
                    found.update(piece)
                    if size > MAX_DOCUMENT:
                        raise Wrong(f"the document {digest.decode()} is too large", number)
            if found.hexdigest().encode() != digest:
                raise Wrong(f"the document {digest.decode()} was changed", number)


def parse(data: bytes, number: int) -> dict[str, object]:
    try:
        value = json.loads(data, parse_int=lambda digits: int(digits) if abs(float(digits)) < 2**53 else float(digits))
        if isinstance(value, dict) and set(value) == FIELDS and canonical(value).encode() == data:
            return value
    except (ValueError, RecursionError):
        pass
    raise Wrong(f"entry {number} is not a canonical entry", number)


def canonical(value: object) -> str:
    """RFC 8785."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{canonical(name)}:{canonical(value[name])}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(canonical(item) for item in value) + "]"
    return number_text(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def number_text(value: float) -> str:
    """ECMAScript's Number::toString, as RFC 8785, section 3.2.2.3 asks; int() fails for NaN and infinities."""
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    text, minus = "".join(map(str, digits)), "-" * sign if value else ""
    point = len(text) + int(exponent)
    if 0 < point <= 21:
        whole, rest = text[:point].ljust(point, "0"), text[point:]
        return minus + (f"{whole}.{rest}" if rest else whole)
    if -6 < point <= 0:
        return f"{minus}0.{'0' * -point}{text}"
    return f"{minus}{text[0]}{'.' * (len(text) > 1)}{text[1:]}e{point - 1:+d}"


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0].startswith("-"):
        print(__doc__)
        return 2
    try:
        print(verify(Path(arguments[0]), arguments[1:]))
    except Wrong as error:
        print(f"WRONG: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
