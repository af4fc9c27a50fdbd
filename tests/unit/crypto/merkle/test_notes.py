import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedseal_crypto.errors import MisuseError, PeerError
from fedseal_crypto.identity import FederationName, IdentityKey, PartyName, SignatureInvalid
from fedseal_crypto.merkle import EMPTY_ROOT, MAX_SIZE, Hash
from fedseal_crypto.notes import (
    Checkpoint,
    NoteInvalid,
    NoteKind,
    NoteSigner,
    NoteUnsigned,
    NoteVerifier,
    attach,
    cosign,
    log_origin,
    open_checkpoint,
    open_note,
    sign_checkpoint,
    sign_note,
)
from fedseal_crypto.secret import SecretBytes

ORIGIN = log_origin(FederationName("hearts"), PartyName("central"))
KEY = IdentityKey.from_seed(SecretBytes(b"c" * 32))
LOG = NoteSigner(name=ORIGIN, key=KEY)
WITNESS = NoteSigner(
    name="fedseal/hearts/cleveland", key=IdentityKey.from_seed(SecretBytes(b"w" * 32)), kind=NoteKind.COSIGNATURE
)
CHECKPOINT = Checkpoint(origin=ORIGIN, size=12, root=Hash(bytes(range(32))))
NOTE = sign_checkpoint(CHECKPOINT, LOG)


def test_the_known_note_is_opened_and_made_again(vectors: dict[str, Any]) -> None:
    known = vectors["note"]
    verifier = NoteVerifier.from_vkey(known["vkey"])
    opened = open_note(known["note"], [verifier])
    key = IdentityKey.from_seed(SecretBytes(bytes.fromhex(known["seed"])))
    signer = NoteSigner(name="PeterNeumann", key=key)
    assert signer.verifier.vkey == known["vkey"]
    assert sign_note(opened.text, signer) == known["note"]


def test_a_published_checkpoint_and_its_cosignatures_verify(vectors: dict[str, Any]) -> None:
    known = vectors["checkpoint"]
    witnesses = [NoteVerifier.from_vkey(vkey) for vkey in known["witnesses"]]
    opened = open_checkpoint(known["note"], NoteVerifier.from_vkey(known["log"]), witnesses)
    assert opened.checkpoint.size == 1432088532
    assert [item.verifier for item in opened.cosignatures] == witnesses
    assert {item.timestamp for item in opened.cosignatures} == {1779573024}
    assert [verifier.vkey for verifier in witnesses] == known["witnesses"]


def test_a_published_checkpoint_with_another_size_does_not(vectors: dict[str, Any]) -> None:
    known = vectors["checkpoint"]
    log = NoteVerifier.from_vkey(known["log"])
    with pytest.raises(SignatureInvalid):
        open_checkpoint(known["note"].replace("1432088532", "1432088533"), log)


def test_the_origin_and_text_are_as_documented() -> None:
    assert ORIGIN == "fedseal/hearts/central"
    root = base64.b64encode(bytes(range(32))).decode()
    assert CHECKPOINT.text == f"fedseal/hearts/central\n12\n{root}\n"
    assert Checkpoint.parse(CHECKPOINT.text) == CHECKPOINT


def test_a_witness_cosigns_with_its_time() -> None:
    note = attach(NOTE, cosign(NOTE, WITNESS, 1_772_353_800))
    opened = open_checkpoint(note, LOG.verifier, [WITNESS.verifier])
    assert opened.checkpoint == CHECKPOINT
    assert [(item.verifier.name, item.timestamp) for item in opened.cosignatures] == [
        ("fedseal/hearts/cleveland", 1_772_353_800)
    ]
    # Who does not know the witness still reads the checkpoint.
    assert open_checkpoint(note, LOG.verifier).cosignatures == ()


def test_a_cosignature_cannot_be_moved_to_another_time_or_checkpoint() -> None:
    line = cosign(NOTE, WITNESS, 1_772_353_800)
    encoded = line.split(" ")[2]
    data = bytearray(base64.b64decode(encoded))
    data[11] ^= 1
    later = line.replace(encoded.strip(), base64.b64encode(data).decode())
    with pytest.raises(SignatureInvalid):
        open_checkpoint(attach(NOTE, later), LOG.verifier, [WITNESS.verifier])
    other = sign_checkpoint(Checkpoint(origin=ORIGIN, size=13, root=CHECKPOINT.root), LOG)
    with pytest.raises(SignatureInvalid):
        open_checkpoint(attach(other, line), LOG.verifier, [WITNESS.verifier])


def test_a_cosignature_is_not_a_log_signature() -> None:
    same_key = NoteSigner(name=ORIGIN, key=KEY, kind=NoteKind.COSIGNATURE)
    assert same_key.verifier.key_id != LOG.verifier.key_id
    only_cosigned = NOTE.partition("\n\n")[0] + "\n\n" + cosign(NOTE, same_key, 1)
    with pytest.raises(NoteUnsigned):
        open_checkpoint(only_cosigned, LOG.verifier, [same_key.verifier])


def test_a_duplicate_signature_counts_once() -> None:
    line = cosign(NOTE, WITNESS, 5)
    note = attach(attach(NOTE, line), line)
    assert len(open_checkpoint(note, LOG.verifier, [WITNESS.verifier]).cosignatures) == 1


def test_unknown_keys_do_not_open_a_note() -> None:
    with pytest.raises(NoteUnsigned, match="none of the known keys"):
        open_note(NOTE, [WITNESS.verifier])
    with pytest.raises(NoteUnsigned):
        open_note(NOTE, [])


def test_a_known_name_with_another_key_is_unknown() -> None:
    namesake = NoteVerifier(name=ORIGIN, public=WITNESS.key.public)
    with pytest.raises(NoteUnsigned):
        open_note(NOTE, [namesake])


def test_the_checkpoint_must_be_of_the_log_that_signed_it() -> None:
    text = Checkpoint(origin="fedseal/hearts/other", size=1, root=CHECKPOINT.root).text
    with pytest.raises(NoteInvalid, match="is of the log fedseal/hearts/other"):
        open_checkpoint(sign_note(text, LOG), LOG.verifier)
    with pytest.raises(MisuseError, match="cannot sign a checkpoint"):
        sign_checkpoint(Checkpoint.parse(text), LOG)


def test_extension_lines_of_other_logs_are_kept() -> None:
    extended = Checkpoint(origin=ORIGIN, size=0, root=EMPTY_ROOT, extensions=("one", "two"))
    assert open_checkpoint(sign_checkpoint(extended, LOG), LOG.verifier).checkpoint == extended


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n1\n",
        "a\n01\n" + "A" * 43 + "=\n",
        "a\n-1\n" + "A" * 43 + "=\n",
        "a\n+1\n" + "A" * 43 + "=\n",
        "a\n1 \n" + "A" * 43 + "=\n",
        "a\n٣\n" + "A" * 43 + "=\n",
        "a\n1\n" + "A" * 42 + "B=\n",
        "a\n1\nAAAA\n",
        "\n1\n" + "A" * 43 + "=\n",
        "a\n1\n" + "A" * 43 + "=",
        "a\n1\n" + "A" * 43 + "=\n\n",
        f"a\n{MAX_SIZE + 1}\n" + "A" * 43 + "=\n",
        "a\n" + "9" * 30 + "\n" + "A" * 43 + "=\n",
    ],
)
def test_malformed_checkpoints(text: str) -> None:
    with pytest.raises(NoteInvalid):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "text\n",
        "text\n\n",
        "text\n\n— name AAAAAAAA",
        "text\n\nname AAAAAAAA\n",
        "text\n\n- name AAAAAAAA\n",
        "text\n\n— name  AAAAAAAA\n",
        "text\n\n— na+me AAAAAAAA\n",
        "text\n\n—  AAAAAAAA\n",
        "text\n\n— name AAAA=AAA\n",
        "text\n\n— name AAAAAAB=\n",
        "text\n\n— name AAAAAA==\n",
        "text\n\n— name AAAAAAAA \n",
        "te\txt\n\n— name AAAAAAAA\n",
        "te\x00xt\n\n— name AAAAAAAA\n",
        "text\ud800\n\n— name AAAAAAAA\n",
        "text\r\n\r\n— name AAAAAAAA\r\n",
        "text\n\n" + "— name AAAAAAAA\n" * 129,
        "x" * 70_000 + "\n\n— name AAAAAAAA\n",
    ],
)
def test_malformed_notes(note: str) -> None:
    with pytest.raises(NoteInvalid):
        open_note(note, [LOG.verifier])


def test_the_last_empty_line_separates_text_and_signatures() -> None:
    text = "one\n\ntwo\n"
    assert open_note(sign_note(text, LOG), [LOG.verifier]).text == text


@pytest.mark.parametrize("text", ["", "no newline", "tab\t\n", "\ud800\n"])
def test_what_cannot_be_a_notes_text_is_not_signed(text: str) -> None:
    with pytest.raises(MisuseError):
        sign_note(text, LOG)


def test_signers_keep_to_their_kind() -> None:
    with pytest.raises(MisuseError, match="is a cosigner"):
        sign_note("text\n", WITNESS)
    with pytest.raises(MisuseError, match="cannot cosign"):
        cosign(NOTE, LOG, 1)
    for timestamp in (-1, 2**63):
        with pytest.raises(MisuseError, match="cannot cosign"):
            cosign(NOTE, WITNESS, timestamp)
    with pytest.raises(NoteInvalid):
        cosign(sign_note("not a checkpoint\n", LOG), WITNESS, 1)


def test_a_cosignature_time_beyond_the_limit_is_refused() -> None:
    data = WITNESS.verifier.key_id + (2**63).to_bytes(8) + b"\x00" * 64
    line = f"— {WITNESS.name} {base64.b64encode(data).decode()}\n"
    with pytest.raises(SignatureInvalid, match="wrong length or time"):
        open_checkpoint(attach(NOTE, line), LOG.verifier, [WITNESS.verifier])


@pytest.mark.parametrize("line", ["", "x\n", "— name AAAAAAAA", "— name AAAAAAAA\n\n", "— name AAAAAAAA\nx\n"])
def test_only_a_signature_line_is_attached(line: str) -> None:
    with pytest.raises(NoteInvalid):
        attach(NOTE, line)


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "name",
        "name+00000000",
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+Ahpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10T",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW ",
        "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ],
)
def test_malformed_verifier_keys(vkey: str) -> None:
    with pytest.raises(NoteInvalid):
        NoteVerifier.from_vkey(vkey)


def test_a_degenerate_verifier_key_is_refused() -> None:
    material = base64.b64encode(b"\x01" + (1).to_bytes(32, "little")).decode()
    with pytest.raises(NoteInvalid, match="degenerate"):
        NoteVerifier.from_vkey(f"name+00000000+{material}")


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\n", "a\u2003b", "x" * 256, "a\x7f\x00"])
def test_key_names_that_would_break_a_line(name: str) -> None:
    with pytest.raises(NoteInvalid):
        NoteSigner(name=name, key=KEY)


@given(place=st.floats(0, 1, exclude_max=True), letter=st.characters(codec="utf-8"))
def test_no_changed_letter_survives_unnoticed(place: float, letter: str) -> None:
    note = attach(NOTE, cosign(NOTE, WITNESS, 7))
    at = int(place * len(note))
    changed = note[:at] + letter + note[at + 1 :]
    try:
        opened = open_checkpoint(changed, LOG.verifier, [WITNESS.verifier])
    except PeerError:
        return
    # A spoilt name or key id makes a line unknown, which is ignored by design; what is read stays the same.
    assert opened.checkpoint == CHECKPOINT


@given(text=st.text(max_size=80))
def test_any_text_is_opened_or_refused_with_a_typed_error(text: str) -> None:
    with pytest.raises((NoteInvalid, NoteUnsigned)):
        open_note(text, [LOG.verifier])
    with pytest.raises(NoteInvalid):
        NoteVerifier.from_vkey(text)


def test_a_signer_shows_no_key() -> None:
    assert KEY.to_pem(None).decode().split("\n")[1] not in repr(LOG)
    assert "<private>" in repr(LOG)
