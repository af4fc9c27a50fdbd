"""Reading a bundle that was verified before: its entries, its roots at earlier sizes, documents by digest."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.merkle import Hash, RunningRoot, leaf_hash
from fedseal_governance.audit import _bundle_format as form
from fedseal_governance.audit._bundle_reader import opened_bundle
from fedseal_governance.audit.entries import Entry
from fedseal_governance.audit.errors import BundleMalformed
from fedseal_governance.audit.verify import entry_lines


def bundle_entries(path: Path) -> Iterator[Entry]:
    """The entries of a bundle that was verified before."""
    with opened_bundle(path) as bundle, bundle.open(form.ENTRIES) as stream:
        for line in entry_lines(stream):
            yield Entry.from_bytes(line)


def roots_at(path: Path, sizes: Iterable[int]) -> dict[int, Hash]:
    """The roots of a verified bundle's tree at these sizes, as far as it has so many entries; one pass."""
    wanted = set(sizes)
    running, found = RunningRoot(), dict[int, Hash]()
    if 0 in wanted:
        found[0] = running.root()
    if not wanted:
        return found
    with opened_bundle(path) as bundle, bundle.open(form.ENTRIES) as stream:
        for line in entry_lines(stream):
            running.add(leaf_hash(line))
            if running.size in wanted:
                found[running.size] = running.root()
    return found


def bundle_documents(path: Path, digests: Iterable[str], *, max_bytes: int) -> dict[str, bytes]:
    """The documents of these digests that the bundle has, each checked against its digest again.

    Raises:
        BundleMalformed: One is larger than `max_bytes`, or not what it was when the bundle was verified.
    """
    found: dict[str, bytes] = {}
    with opened_bundle(path) as bundle:
        for digest in digests:
            if not bundle.has(form.DOCUMENTS + digest):
                continue
            with bundle.open(form.DOCUMENTS + digest) as stream:
                data = stream.read(max_bytes + 1)
            if len(data) > max_bytes or sha256_hex(data) != digest:
                raise BundleMalformed(f"the document {digest} is too large or was changed since it was verified.")
            found[digest] = data
    return found
