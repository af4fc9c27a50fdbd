"""Everything by which a bundle can be spoilt, and the entry that the verifier names."""

import os
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.merkle import TreeAppender, leaf_hash
from fedseal_crypto.notes import NoteVerifier
from fedseal_crypto.secret import SecretBytes
from fedseal_governance.audit import (
    AuditError,
    BundleMalformed,
    CheckpointWrong,
    DocumentWrong,
    EntryWrong,
    LeavesWrong,
    verify_bundle,
)
from fedseal_governance.audit._store import SqlNodeStore
from fedseal_governance.audit.tables import AuditEntry

if TYPE_CHECKING:
    from tests.unit.audit.conftest import Party

POLICY = b"policy: heart-risk-research\n"


def _zipped(folder: Path) -> Path:
    target = folder.with_name("packed.zip")
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder).as_posix())
    return target


def _lines(bundle: Path, name: str = "entries.jsonl") -> list[bytes]:
    return (bundle / name).read_bytes().splitlines(keepends=True)


def _write(bundle: Path, lines: list[bytes], name: str = "entries.jsonl") -> None:
    (bundle / name).write_bytes(b"".join(lines))


# What happened to entry 6 of 13, and what the verifier says.


def _flip(lines: list[bytes]) -> list[bytes]:
    return [*lines[:6], lines[6].replace(b"completed", b"compleded"), *lines[7:]]


def _remove(lines: list[bytes]) -> list[bytes]:
    return [*lines[:6], *lines[7:]]


def _insert(lines: list[bytes]) -> list[bytes]:
    return [*lines[:6], lines[2], *lines[6:]]


def _swap(lines: list[bytes]) -> list[bytes]:
    return [*lines[:6], lines[7], lines[6], *lines[8:]]


def _truncate(lines: list[bytes]) -> list[bytes]:
    return lines[:6]


def _cut(lines: list[bytes]) -> list[bytes]:
    return [*lines[:6], lines[6][:20]]


def _split(lines: list[bytes]) -> list[bytes]:
    return [*lines[:6], lines[6].replace(b",", b",\n", 1), *lines[7:]]


def _lengthen(lines: list[bytes]) -> list[bytes]:
    return [*lines[:6], b"x" * 1_000_000, *lines[6:]]


def _blank(lines: list[bytes]) -> list[bytes]:
    return [*lines[:6], b"\n", *lines[6:]]


def _respell(lines: list[bytes]) -> list[bytes]:
    return [*lines[:6], lines[6].replace(b'":', b'": ', 1), *lines[7:]]


TAMPERINGS: list[tuple[Callable[[list[bytes]], list[bytes]], str]] = [
    (_flip, "was changed"),
    (_remove, "is missing"),
    (_insert, "was added"),
    (_swap, "changed places with the next"),
    (_truncate, "is missing"),
    (_cut, "was changed"),
    (_split, "was changed"),
    (_lengthen, "was changed"),
    (_blank, "was added"),
    (_respell, "was changed"),
]


@pytest.mark.parametrize(("tamper", "message"), TAMPERINGS)
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_the_first_wrong_entry_is_named(
    packed: bool, tamper: Callable[[list[bytes]], list[bytes]], message: str, bundle: Path
) -> None:
    _write(bundle, tamper(_lines(bundle)))
    with pytest.raises(EntryWrong, match=message) as caught:
        verify_bundle(_zipped(bundle) if packed else bundle)
    assert caught.value.entry == 6


def test_an_entry_after_the_last_is_named(bundle: Path) -> None:
    lines = _lines(bundle)
    _write(bundle, [*lines, lines[-1]])
    with pytest.raises(EntryWrong, match="was added") as caught:
        verify_bundle(bundle)
    assert caught.value.entry == 13


@pytest.mark.parametrize(
    ("tamper", "entry"),
    [(_remove, 6), (_insert, 6), (_swap, 6), (_truncate, 6), (_cut, 6), (_respell, 6), (_flip, None)],
)
@pytest.mark.parametrize("leaves", ["absent", "changed"])
def test_without_right_leaf_hashes_what_can_be_named_is_named(
    leaves: str, tamper: Callable[[list[bytes]], list[bytes]], entry: int | None, bundle: Path
) -> None:
    _spoil_leaves(bundle, leaves)
    _write(bundle, tamper(_lines(bundle)))
    with pytest.raises(EntryWrong) as caught:
        verify_bundle(bundle)
    assert caught.value.entry == entry


def _spoil_leaves(bundle: Path, how: str) -> None:
    if how == "absent":
        (bundle / "leaves").unlink()
    else:
        _write(bundle, [b"0" * 64 + b"\n", *_lines(bundle, "leaves")[1:]], "leaves")


def test_leaf_hashes_may_be_absent(bundle: Path) -> None:
    _spoil_leaves(bundle, "absent")
    assert verify_bundle(bundle).size == 13


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [b"0" * 64 + b"\n", *lines[1:]],
        lambda lines: lines[:-1],
        lambda lines: [*lines, lines[0]],
        lambda lines: [*lines[:3], b"junk\n", *lines[4:]],
        lambda lines: [*lines[:-1], lines[-1].strip()],
        lambda lines: [b"".join(lines).upper()],
    ],
)
def test_wrong_leaf_hashes_beside_right_entries_are_told_apart(
    change: Callable[[list[bytes]], list[bytes]], bundle: Path
) -> None:
    _write(bundle, change(_lines(bundle, "leaves")), "leaves")
    with pytest.raises(LeavesWrong, match="the entries are right") as caught:
        verify_bundle(bundle)
    assert caught.value.entry is None


def test_a_signed_log_that_breaks_its_own_rules_is_refused(central: "Party", tmp_path: Path) -> None:
    """A dishonest log signs entries that are not in order: the hashes are right, the entries are not."""
    central.grow(3)
    with central.database.transaction("forge") as session:
        rows = session.execute(text("SELECT seq, entry FROM audit_entries ORDER BY seq")).all()
        session.execute(text("DELETE FROM audit_entries"))
        session.execute(text("DELETE FROM audit_nodes"))
        session.execute(text("UPDATE audit_head SET size = 0"))
    forged = [row.entry.replace(b'"seq":2', b'"seq":9') for row in rows]
    with central.database.transaction("forge") as session:
        _append_raw(session, forged)
    with pytest.raises(EntryWrong, match="it says it is entry 9") as caught:
        verify_bundle(central.export(tmp_path / "forged"))
    assert caught.value.entry == 2


def _append_raw(session: Session, entries: list[bytes]) -> None:
    from sqlalchemy.orm import Session

    assert isinstance(session, Session)
    store = SqlNodeStore(session.connection())
    tree = TreeAppender(store)
    for data in entries:
        leaf = leaf_hash(data)
        session.add(AuditEntry(seq=tree.append(leaf), leaf=leaf, entry=data))
    session.flush()
    store.flush()
    session.execute(text("UPDATE audit_head SET size = :size"), {"size": tree.size})


@pytest.mark.parametrize(
    ("statement", "entry"),
    [
        ("UPDATE audit_entries SET entry = CAST(REPLACE(entry, 'alice', 'mallory') AS BLOB) WHERE seq = 4", 4),
        ("DELETE FROM audit_entries WHERE seq = 4", 4),
        ("UPDATE audit_entries SET entry = (SELECT entry FROM audit_entries WHERE seq = 5) WHERE seq = 4", 4),
    ],
)
def test_a_database_edited_by_hand_shows_in_its_export(
    statement: str, entry: int, central: "Party", tmp_path: Path
) -> None:
    central.grow(9, who="alice")
    central.checkpoint()
    with central.database.transaction("tamper") as session:
        session.execute(text(statement))
    with pytest.raises(EntryWrong) as caught:
        verify_bundle(central.export(tmp_path / "out"))
    assert caught.value.entry == entry


def test_a_changed_document_is_named_with_the_entry_that_refers_to_it(bundle: Path) -> None:
    (bundle / "documents" / sha256_hex(POLICY)).write_bytes(POLICY + b" ")
    with pytest.raises(DocumentWrong, match="which entry 4 names") as caught:
        verify_bundle(bundle)
    assert caught.value.entry == 4


def test_a_document_that_no_entry_names_is_refused(bundle: Path) -> None:
    (bundle / "documents" / sha256_hex(b"planted")).write_bytes(b"planted")
    with pytest.raises(DocumentWrong, match="no entry names"):
        verify_bundle(bundle)


def test_a_deleted_document_leaves_its_digest(bundle: Path) -> None:
    (bundle / "documents" / sha256_hex(POLICY)).unlink()
    assert verify_bundle(bundle).documents == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [("\n13\n", "\n14\n"), ("central\n13", "central2\n13"), ("\u2014 ", "- "), ("\n\n", "\n"), ("13\n", "13\r\n")],
)
def test_a_changed_checkpoint_is_refused(old: str, new: str, bundle: Path) -> None:
    note = (bundle / "checkpoint").read_text(encoding="utf-8")
    (bundle / "checkpoint").write_bytes(note.replace(old, new, 1).encode())
    with pytest.raises(CheckpointWrong):
        verify_bundle(bundle)


def test_keys_that_the_reader_does_not_trust_are_refused(bundle: Path, central: "Party") -> None:
    other = IdentityKey.from_seed(SecretBytes(b"o" * 32)).public
    with pytest.raises(CheckpointWrong, match="not among the keys you trust"):
        verify_bundle(bundle, keys=[NoteVerifier(name=central.log.origin, public=other)])
    with pytest.raises(CheckpointWrong):
        verify_bundle(bundle, keys=[])


@pytest.mark.parametrize("keys", ["", "junk\n", "{vkey}{vkey}", "{vkey}" + "x" * 70_000])
def test_wrong_key_files_are_refused(keys: str, bundle: Path, central: "Party") -> None:
    (bundle / "keys.txt").write_text(keys.format(vkey=central.verifier.vkey + "\n"))
    with pytest.raises((CheckpointWrong, BundleMalformed)):
        verify_bundle(bundle)


@pytest.mark.parametrize("name", ["entries.jsonl", "checkpoint", "keys.txt"])
def test_a_missing_file_is_named(name: str, bundle: Path) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleMalformed, match=f"has no file {name}"):
        verify_bundle(bundle)


@pytest.mark.parametrize("name", ["entries.jsonl", "leaves", "checkpoint"])
def test_links_are_not_followed(name: str, bundle: Path, tmp_path: Path) -> None:
    (bundle / name).rename(tmp_path / "elsewhere")
    (bundle / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleMalformed, match="not a regular file"):
        verify_bundle(bundle)


def test_devices_are_not_read(bundle: Path) -> None:
    (bundle / "leaves").unlink()
    os.mkfifo(bundle / "leaves")
    assert stat.S_ISFIFO((bundle / "leaves").stat().st_mode)
    with pytest.raises(BundleMalformed, match="not a regular file"):
        verify_bundle(bundle)


def test_other_files_are_listed_and_not_vouched_for(bundle: Path) -> None:
    (bundle / ".DS_Store").write_bytes(b"x")
    (bundle / "documents" / "notes.txt").write_bytes(b"x")
    (bundle / "more").mkdir()
    assert verify_bundle(bundle).unknown_files == (".DS_Store", "documents/notes.txt", "more")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not really", b"\x00" * 1000])
def test_what_is_no_bundle(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(BundleMalformed):
        verify_bundle(tmp_path / "x.zip")
    with pytest.raises(BundleMalformed):
        verify_bundle(tmp_path / "absent.zip")


def test_zip_members_cannot_lead_out_or_hide(bundle: Path, tmp_path: Path) -> None:
    packed = _zipped(bundle)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("../../escape", "x")
        archive.writestr("/absolute", "x")
    assert verify_bundle(packed).unknown_files == ("../../escape", "/absolute")
    assert not (tmp_path.parent / "escape").exists()
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zipfile.ZipFile(packed, "a") as archive,
    ):
        archive.writestr("entries.jsonl", b"")
    with pytest.raises(BundleMalformed, match="occurs twice"):
        verify_bundle(packed)


def test_a_zip_bomb_is_read_no_further_than_needed(bundle: Path) -> None:
    shutil.copy(bundle / "leaves", bundle.with_name("leaves.good"))
    packed = bundle.with_name("bomb.zip")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("checkpoint", "keys.txt", "leaves"):
            archive.write(bundle / name, name)
        with archive.open("entries.jsonl", "w") as stream:
            for _ in range(64):
                stream.write(b"\x00" * (1 << 20))
    with pytest.raises(EntryWrong) as caught:
        verify_bundle(packed)
    assert caught.value.entry == 0


@pytest.mark.parametrize("place", [0.05, 0.2, 0.4])
def test_a_damaged_zip_is_a_typed_error(place: float, central: "Party", tmp_path: Path) -> None:
    central.grow(300)
    target = central.export(tmp_path / "out.zip")
    data = bytearray(target.read_bytes())
    for offset in range(20):
        data[int(place * len(data)) + offset] ^= 0xFF
    target.write_bytes(data)
    with pytest.raises(AuditError):
        verify_bundle(target)
