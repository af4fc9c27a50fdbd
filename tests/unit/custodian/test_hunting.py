"""The search for secret keys finds what it should: a search that never finds anything proves nothing."""

import base64
import json
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from fedseal_crypto.homomorphic import KeyFile, SecretContext, generate_keys, parameters_for_sums, seal_key
from fedseal_crypto.homomorphic._contexts import SECRET_MAGIC
from fedseal_crypto.secret import SecretBytes
from tests.system.hunting import holders_of_secrets


@pytest.fixture(scope="module")
def secret() -> SecretContext:
    return generate_keys(parameters_for_sums(3))


def test_a_key_is_found_wherever_it_lies(secret: SecretContext, tmp_path: Path) -> None:
    whole = SECRET_MAGIC + secret.library.secret_bytes()
    piece = secret.library.secret_bytes()  # without the mark that our own form begins with
    (tmp_path / "plain.bin").write_bytes(b"before" + whole + b"behind")
    (tmp_path / "document.json").write_text(json.dumps({"payload": base64.b64encode(whole).decode()}))
    (tmp_path / "url.txt").write_bytes(base64.urlsafe_b64encode(piece))
    (tmp_path / "line.log").write_text(f"key {piece.hex()} made\n")
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("documents/1", whole)
        archive.writestr("innocent", b"nothing")
    with closing(sqlite3.connect(tmp_path / "node.db")) as connection, connection:
        connection.execute("CREATE TABLE things (name TEXT, data BLOB)")
        connection.execute("INSERT INTO things VALUES ('x', ?)", (b"left" * 3_000 + piece,))
        connection.execute("INSERT INTO things VALUES (?, x'00')", (base64.b64encode(whole).decode(),))
    found = holders_of_secrets(tmp_path, secret, printed=f"loaded {base64.b64encode(whole).decode()}")
    expected = {"plain.bin", "document.json", "url.txt", "line.log", "bundle.zip!documents/1", "printed"}
    assert expected <= found
    assert {"node.db!things.data", "node.db!things.name"} <= found
    assert not {place for place in found if "innocent" in place}


def test_what_is_sealed_or_public_is_not_a_find(secret: SecretContext, tmp_path: Path) -> None:
    (tmp_path / "sealed").write_bytes(seal_key(secret, lock=KeyFile(SecretBytes(bytes(32)))))
    (tmp_path / "public").write_bytes(secret.public.to_bytes())
    assert holders_of_secrets(tmp_path, secret, printed="nothing") == set()
