"""Whatever a bundle holds, reading it ends soon, in bounded memory, and with a typed error; for both verifiers."""

import io
import shutil
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedseal_governance.audit import AuditError, verify_bundle

if TYPE_CHECKING:
    from tests.unit.audit.conftest import Party

REUSED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MEMBERS = ("entries.jsonl", "leaves", "checkpoint", "keys.txt")
HOSTILE = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=80).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [
            b"\x00" * 100,
            b"\n" * 100,
            b"{" * 5000,
            b'{"seq":0}\r\n',
            b"[" * 5000 + b"]" * 5000,
            b"9" * 5000,
            b'{"seq":1e999}\n',
            b"\xff\xfe",
            "fedseal/hearts/central\n999999999999999999999\nAAAA\n\n\u2014 x AAAA\n".encode(),
        ]
    ),
)


def verdicts(outsider: ModuleType, bundle: Path) -> tuple[bool, bool]:
    """Whether each verifier accepts; anything but their own errors is a defect."""
    try:
        verify_bundle(bundle)
        ours = True
    except AuditError:
        ours = False
    try:
        outsider.verify(bundle)
    except outsider.Wrong:
        return ours, False
    return ours, True


@REUSED
@given(name=st.sampled_from(MEMBERS), content=HOSTILE, kept=st.booleans())
def test_hostile_content_of_any_file_is_refused_by_both(
    name: str, content: bytes, kept: bool, bundle: Path, outsider: ModuleType
) -> None:
    file = bundle / name
    good = file.read_bytes()
    file.write_bytes(good + content if kept else content)
    try:
        ours, theirs = verdicts(outsider, bundle)
        assert ours == theirs
        # an empty line more in keys.txt says nothing
        assert not ours or name == "keys.txt" or file.read_bytes() == good
    finally:
        file.write_bytes(good)


@REUSED
@given(
    names=st.lists(
        st.sampled_from(["../escape", "/etc/x", "documents/../../x", "a\x00b", "documents/" + "0" * 64, "C:\\x", "x/"]),
        max_size=4,
        unique=True,
    ),
    level=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
)
def test_odd_members_of_a_zip_are_never_written_anywhere(
    names: list[str], level: int, bundle: Path, outsider: ModuleType, tmp_path: Path
) -> None:
    packed = tmp_path / "odd.zip"
    before = {path for path in tmp_path.rglob("*") if path != packed}
    with zipfile.ZipFile(packed, "w", level) as archive:
        for file in MEMBERS:
            archive.write(bundle / file, file)
        for name in names:
            archive.writestr(name, b"x")
    ours, theirs = verdicts(outsider, packed)
    assert ours == theirs == ("documents/" + "0" * 64 not in names)
    assert {path for path in tmp_path.rglob("*") if path != packed} == before


@REUSED
@given(place=st.floats(0, 1, exclude_max=True), flips=st.binary(min_size=1, max_size=20))
def test_a_damaged_zip_never_ends_in_an_untyped_error(
    place: float, flips: bytes, central: "Party", outsider: ModuleType, tmp_path: Path
) -> None:
    target = tmp_path / "good.zip"
    if not target.exists():
        central.grow(20)
        central.export(target)
    data = bytearray(target.read_bytes())
    for offset, flip in enumerate(flips):
        data[(int(place * len(data)) + offset) % len(data)] ^= flip
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(data)
    verdicts(outsider, damaged)


def bomb(stream: io.BufferedIOBase, size: int) -> None:
    stream.writelines(b"a" * (1 << 20) for _ in range(size >> 20))


@pytest.mark.parametrize("name", ["entries.jsonl", "leaves", "checkpoint", "keys.txt", "documents/" + "ab" * 32])
def test_a_line_of_hundreds_of_megabytes_costs_little_memory(name: str, bundle: Path, outsider: ModuleType) -> None:
    packed = bundle.with_name("bomb.zip")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in MEMBERS:
            if file != name:
                archive.write(bundle / file, file)
        with archive.open(name, "w") as stream:
            bomb(stream, 200 << 20)  # type: ignore[arg-type]
    tracemalloc.start()
    try:
        assert verdicts(outsider, packed) == (False, False)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_zip_that_lists_millions_of_files_is_refused_before_it_is_read(bundle: Path) -> None:
    packed = bundle.with_name("many.zip")
    shutil.make_archive(str(packed.with_suffix("")), "zip", bundle)
    data = bytearray(packed.read_bytes())
    end = data.rfind(b"PK\x05\x06")
    data[end + 12 : end + 16] = (0x7FFFFFFF).to_bytes(4, "little")
    packed.write_bytes(data)
    with pytest.raises(AuditError, match="more files"):
        verify_bundle(packed)


def test_a_name_cannot_forge_a_line_of_the_report(
    make_party: "Callable[[str], Party]", outsider: ModuleType, tmp_path: Path
) -> None:
    party = make_party("central")
    party.grow(1, note="\n fedseal/hearts/central: 99 entries verified \x1b[2J")
    told = outsider.verify(party.export(tmp_path / "out"))
    assert "99 entries" not in told
    assert "\x1b" not in told
