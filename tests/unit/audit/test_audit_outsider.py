"""The outsider's verifier and ours say the same of every bundle, good or bad."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from fedseal_crypto.canonical import NotJson, canonical_json
from fedseal_governance.audit import AuditError, verifier, verify_bundle

if TYPE_CHECKING:
    from tests.unit.audit.conftest import Party

SCRIPT = Path(verifier.__file__)
REUSED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _ours(bundle: Path) -> tuple[bool, int | None]:
    try:
        verify_bundle(bundle)
    except AuditError as error:
        return False, error.entry
    return True, None


def _theirs(outsider: ModuleType, bundle: Path) -> tuple[bool, int | None]:
    try:
        outsider.verify(bundle)
    except outsider.Wrong as error:
        return False, error.entry
    return True, None


def test_the_outsider_knows_nothing_of_us() -> None:
    source = SCRIPT.read_text(encoding="utf-8")
    assert "fedseal" not in source
    assert len(source.splitlines()) < 300


def test_the_script_runs_alone(bundle: Path, central: "Party") -> None:
    def run(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-I", str(SCRIPT), str(bundle), *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    assert run()[0] == 0
    assert run(central.verifier.vkey)[1].startswith("fedseal/hearts/central: 13 entries verified")
    assert run("someone+else")[0] == 1
    lines = (bundle / "entries.jsonl").read_bytes().splitlines(keepends=True)
    (bundle / "entries.jsonl").write_bytes(b"".join([*lines[:8], lines[8].replace(b"8", b"9"), *lines[9:]]))
    assert run() == (1, "WRONG: entry 8 is wrong\n")


def test_both_accept_good_bundles(bundle: Path, central: "Party", outsider: ModuleType, tmp_path: Path) -> None:
    assert _theirs(outsider, bundle) == _ours(bundle) == (True, None)
    packed = central.export(tmp_path / "out.zip")
    assert _theirs(outsider, packed) == _ours(packed) == (True, None)


def test_both_accept_cosignatures_and_a_clock_set_back(
    central: "Party", make_party: "Callable[[str], Party]", outsider: ModuleType, tmp_path: Path
) -> None:
    node = make_party("cleveland")
    central.grow(3)
    central.now = central.now.replace(hour=1)
    central.grow(3)
    note = central.checkpoint()

    def cosign(session: Session) -> str:
        return node.witness.check_and_cosign(session, note, central.verifier, proof=(), now=node.now)

    line = node.database.run("cosign", cosign)

    def add(session: Session) -> None:
        central.log.add_cosignature(session, size=7, line=line, witness=node.witness.verifier, now=central.now)

    central.database.run("add", add)
    bundle = central.export(tmp_path / "out")
    assert "1 witnesses" in outsider.verify(bundle)
    verified = verify_bundle(bundle, keys=[central.verifier, node.witness.verifier])
    assert [item.verifier.name for item in verified.cosignatures] == ["fedseal/hearts/cleveland"]
    note_file = bundle / "checkpoint"
    note_file.write_bytes(note_file.read_bytes().replace(line.split(" ")[2][-9:].encode(), b"AAAAAAA=\n"))
    assert _theirs(outsider, bundle) == _ours(bundle) == (False, None)


@REUSED
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_flipped_byte_of_the_entries_is_found_by_both_at_the_same_entry(
    place: float, flip: int, bundle: Path, outsider: ModuleType
) -> None:
    entries = bundle / "entries.jsonl"
    good = entries.read_bytes()
    data = bytearray(good)
    at = int(place * len(data))
    data[at] ^= flip
    entries.write_bytes(data)
    try:
        assert _theirs(outsider, bundle) == _ours(bundle) == (False, good[:at].count(b"\n"))
    finally:
        entries.write_bytes(good)


@REUSED
@given(
    name=st.sampled_from(["entries.jsonl", "leaves", "checkpoint", "keys.txt"]),
    cut=st.floats(0, 1, exclude_max=True),
    length=st.integers(0, 200),
    extra=st.binary(max_size=3),
)
def test_any_edit_of_any_file_gets_the_same_verdict(
    name: str, cut: float, length: int, extra: bytes, bundle: Path, outsider: ModuleType
) -> None:
    file = bundle / name
    good = file.read_bytes()
    at = int(cut * len(good))
    file.write_bytes(good[:at] + extra + good[at + length :])
    try:
        if file.read_bytes() != good:
            ours = _ours(bundle)
            assert _theirs(outsider, bundle)[0] == ours[0]
            assert not ours[0] or name == "keys.txt"
    finally:
        file.write_bytes(good)


@REUSED
@given(order=st.permutations(range(13)))
def test_any_order_but_the_right_one_is_found_by_both(order: list[int], bundle: Path, outsider: ModuleType) -> None:
    entries = bundle / "entries.jsonl"
    good = entries.read_bytes()
    lines = good.splitlines(keepends=True)
    entries.write_bytes(b"".join(lines[number] for number in order))
    expected = next((seq for seq, number in enumerate(order) if seq != number), None)
    try:
        assert _theirs(outsider, bundle) == _ours(bundle) == (expected is None, expected)
    finally:
        entries.write_bytes(good)


@given(
    value=st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**53) + 1, 2**53 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
        max_leaves=10,
    )
)
def test_both_write_the_same_canonical_json(value: object, outsider: ModuleType) -> None:
    assert outsider.canonical(value).encode() == canonical_json(value)


def test_the_outsider_reads_without_leaf_hashes(bundle: Path, outsider: ModuleType) -> None:
    shutil.copytree(bundle, bundle.with_name("copy"))
    (bundle / "leaves").unlink()
    assert _theirs(outsider, bundle) == _ours(bundle) == (True, None)
    entries = bundle / "entries.jsonl"
    entries.write_bytes(entries.read_bytes().replace(b"coordinator", b"Coordinator", 1))
    assert _theirs(outsider, bundle) == _ours(bundle) == (False, None)


def test_canonical_json_has_limits_that_entries_inherit() -> None:
    with pytest.raises(NotJson):
        canonical_json({"x": 2**53})
