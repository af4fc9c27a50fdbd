"""A verifier of audit bundles by somebody else: written from the README.txt in the bundle and the documents it
cites, with the standard library and `cryptography` only. Usage: python outsider_verifier.py BUNDLE [VKEY ...]

Given verifier keys, the log's key must be one of them. Exit status 0: the bundle is right; 1: it is wrong.
"""

import base64
import hashlib
import json
import math
import re
import sys
import zipfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FIELDS = {"seq", "time", "log", "type", "actor", "subject", "details"}
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


class Wrong(Exception):
    """The bundle is wrong; `entry` is the first wrong entry, if it can be told."""

    def __init__(self, message: str, entry: int | None = None) -> None:
        super().__init__(message)
        self.entry = entry


class Bundle:
    """The files of a bundle, wherever they are."""

    def __init__(self, path: Path) -> None:
        self.files: dict[str, bytes] = {}
        if path.is_dir():
            for file in path.rglob("*"):
                if file.is_file() and not file.is_symlink():
                    self.files[file.relative_to(path).as_posix()] = file.read_bytes()
        else:
            with zipfile.ZipFile(path) as archive:
                for info in archive.infolist():
                    if info.filename in self.files:
                        raise Wrong(f"{info.filename} occurs twice")
                    self.files[info.filename] = archive.read(info)

    def text(self, name: str) -> str:
        if name not in self.files:
            raise Wrong(f"{name} is missing")
        try:
            return self.files[name].decode("utf-8")
        except UnicodeDecodeError:
            raise Wrong(f"{name} is not UTF-8") from None


def verify(path: Path, trusted: tuple[str, ...] = ()) -> str:
    """Check everything; returns one line to print."""
    bundle = Bundle(path)
    keys = [line for line in bundle.text("keys.txt").split("\n") if line]
    note = bundle.text("checkpoint")
    origin, size, root = check_checkpoint(note, keys, trusted)
    witnesses = check_cosignatures(note, keys)
    entries = split_lines(bundle.files.get("entries.jsonl", b""))
    hashes = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries]
    leaves = read_leaves(bundle.files.get("leaves"))
    if leaves is not None and len(leaves) == size and tree_root(leaves) == root:
        name_first_difference(hashes, leaves)
    elif tree_root(hashes) != root or len(hashes) != size:
        check_entries(entries, origin)
        raise Wrong("the entries do not have the checkpoint's root; the wrong one cannot be named")
    elif leaves is not None:
        raise Wrong("the file leaves is wrong")
    check_entries(entries, origin)
    check_documents(bundle, entries)
    return f"{origin}: {size} entries verified, root {root.hex()}, {witnesses} witnesses"


# --- signed notes: c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature


def signatures(note: str) -> Iterator[tuple[str, bytes, bytes]]:
    """Key name, key id and signature of each line below the last empty line."""
    lines = note.rpartition("\n\n")[2].split("\n")
    if lines.pop() or any(letter < " " for letter in note if letter != "\n"):
        raise Wrong("the checkpoint does not end in a newline or holds control characters")
    for line in lines:
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        if dash != "\u2014" or not name:
            raise Wrong("a signature line of the checkpoint is malformed")
        data = from_base64(encoded)
        yield name, data[:4], data[4:]


def read_key(vkey: str) -> tuple[str, bytes, int, Ed25519PublicKey]:
    """Name, key id, type and public key."""
    name, _, rest = vkey.partition("+")
    key_id, _, encoded = rest.partition("+")
    material = from_base64(encoded)
    expected = hashlib.sha256(name.encode() + b"\n" + material).digest()[:4]
    if len(material) != 33 or key_id != expected.hex():
        raise Wrong(f"the key of {name} is malformed")
    return name, expected, material[0], Ed25519PublicKey.from_public_bytes(material[1:])


def check_checkpoint(note: str, keys: list[str], trusted: tuple[str, ...]) -> tuple[str, int, bytes]:
    """The log's signature; returns origin, size and root."""
    text = note.rpartition("\n\n")[0] + "\n"
    origin = text.partition("\n")[0]
    own = [vkey for vkey in keys if vkey.partition("+")[0] == origin and read_key(vkey)[2] == 1]
    if len(own) != 1 or (trusted and own[0] not in trusted):
        raise Wrong(f"there is no trusted key of {origin}")
    name, key_id, _, public = read_key(own[0])
    found = [signature for who, kid, signature in signatures(note) if (who, kid) == (name, key_id)]
    if not found:
        raise Wrong("the log has not signed the checkpoint")
    for signature in found:
        check_signature(public, signature, text.encode())
    lines = text.split("\n")
    if len(lines) != 4 or re.fullmatch("0|[1-9][0-9]*", lines[1]) is None:
        raise Wrong("the checkpoint is malformed")
    return origin, int(lines[1]), from_base64(lines[2])


def check_cosignatures(note: str, keys: list[str]) -> int:
    """How many witnesses cosigned; each known one must have done so correctly."""
    text = note.rpartition("\n\n")[0] + "\n"
    known = {read_key(vkey)[:2]: read_key(vkey)[3] for vkey in keys if read_key(vkey)[2] == 4}
    seen = set()
    for name, key_id, data in signatures(note):
        if (name, key_id) in known:
            timestamp = int.from_bytes(data[:8])
            message = f"cosignature/v1\ntime {timestamp}\n{text}"
            check_signature(known[name, key_id], data[8:], message.encode())
            seen.add((name, key_id))
    return len(seen)


def check_signature(public: Ed25519PublicKey, signature: bytes, message: bytes) -> None:
    try:
        public.verify(signature, message)
    except InvalidSignature:
        raise Wrong("a signature on the checkpoint is wrong") from None


def from_base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise Wrong(f"{text[:40]!r} is not base64") from None
    if base64.b64encode(data).decode() != text:
        raise Wrong(f"{text[:40]!r} is not canonical base64")
    return data


# --- the tree: RFC 9162, section 2.1.1


def tree_root(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = leaves
    while len(level) > 1:
        pairs = [hashlib.sha256(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        # An odd node at the end moves up unchanged, which is what the largest power of two amounts to.
        level = pairs + ([level[-1]] if len(level) % 2 else [])
    return level[0]


def split_lines(data: bytes) -> list[bytes]:
    """Lines without their newlines; a last line that lacks its newline is spoilt, so that nothing matches it."""
    lines = data.split(b"\n")
    last = lines.pop()
    return [*lines, last + b"\x00"] if last else lines


def read_leaves(data: bytes | None) -> list[bytes] | None:
    if data is None:
        return None
    lines = data.split(b"\n")
    if lines.pop() or any(re.fullmatch(b"[0-9a-f]{64}", line) is None for line in lines):
        return []
    return [bytes.fromhex(line.decode()) for line in lines]


def name_first_difference(hashes: list[bytes], leaves: list[bytes]) -> None:
    for number in range(max(len(hashes), len(leaves))):
        if hashes[number : number + 1] != leaves[number : number + 1]:
            raise Wrong(f"entry {number} is wrong", number)


# --- entries: RFC 8785


def check_entries(entries: list[bytes], origin: str) -> None:
    previous = ""
    for number, data in enumerate(entries):
        entry = parse(data, number)
        kinds = {name: type(value) for name, value in entry.items()}
        texts = all(kinds[name] is str for name in FIELDS - {"seq", "details"})
        if not texts or kinds["seq"] is not int or kinds["details"] is not dict:
            raise Wrong(f"entry {number} has a field of a wrong type", number)
        time = str(entry["time"])
        if entry["seq"] != number or entry["log"] != origin or TIME.fullmatch(time) is None:
            raise Wrong(f"entry {number} has a wrong number, log or time", number)
        if time < previous and entry["type"] != "log.clock_set_back":
            raise Wrong(f"entry {number} is earlier than the one before", number)
        previous = time


def parse(data: bytes, number: int) -> dict[str, object]:
    entry: dict[str, object] = {}
    try:
        value = json.loads(data.decode("utf-8"), parse_int=read_integer)
        if isinstance(value, dict) and canonical(value).encode() == data:
            entry = value
    except (ValueError, RecursionError):
        pass
    if set(entry) != FIELDS:
        raise Wrong(f"entry {number} is not a canonical entry", number)
    return entry


def read_integer(digits: str) -> int | float:
    return int(digits) if abs(float(digits)) < 2**53 else float(digits)


def canonical(value: object) -> str:
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{canonical(name)}:{canonical(value[name])}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(canonical(item) for item in value) + "]"
    if isinstance(value, float):
        return number_text(value)
    return json.dumps(value, ensure_ascii=False)


def number_text(value: float) -> str:
    """ECMAScript's Number::toString, as RFC 8785, section 3.2.2.3 asks; not for NaN and infinities."""
    if not math.isfinite(value):
        raise ValueError("not a JSON number")
    if value == 0:
        return "0"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    text, point = "".join(map(str, digits)), len(digits) + int(exponent)
    if len(text) <= point <= 21:
        text = text + "0" * (point - len(text))
    elif 0 < point <= 21:
        text = f"{text[:point]}.{text[point:]}"
    elif -6 < point <= 0:
        text = "0." + "0" * -point + text
    else:
        fraction = f".{text[1:]}" if len(text) > 1 else ""
        text = f"{text[0]}{fraction}e{point - 1:+d}"
    return ("-" if sign else "") + text


def check_documents(bundle: Bundle, entries: list[bytes]) -> None:
    for name, data in bundle.files.items():
        digest = name.removeprefix("documents/")
        if digest == name or re.fullmatch("[0-9a-f]{64}", digest) is None:
            continue
        named = [number for number, entry in enumerate(entries) if digest.encode() in entry]
        if not named:
            raise Wrong(f"no entry names the document {digest}")
        if hashlib.sha256(data).hexdigest() != digest:
            raise Wrong(f"the document {digest} was changed", named[0])


def main(arguments: list[str]) -> int:
    try:
        print(verify(Path(arguments[0]), tuple(arguments[1:])))
    except (Wrong, zipfile.BadZipFile) as error:
        print(f"WRONG: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
