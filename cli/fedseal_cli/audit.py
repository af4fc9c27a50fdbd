"""``fedseal audit``: a party's log of what happened, and proofs that it was not changed."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedseal_cli.authority_options import now
from fedseal_cli.commands import JsonOption, command, noun
from fedseal_cli.local_options import PartyArgument, folder_passphrase, require_existing
from fedseal_cli.output import day, instant, note, print_fields, print_json, print_table, say
from fedseal_cli.secrets_input import PassphraseFile

if TYPE_CHECKING:
    from fedseal_crypto.notes import NoteVerifier
    from fedseal_governance.audit import Verified

_SHOWN_REMOVALS = 20

app = noun(
    "audit",
    "A party's log of what happened, and proofs that it was not changed.",
    example="fedseal audit verify cleveland-audit.zip",
)

KeyOption = Annotated[
    list[str] | None,
    typer.Option("--key", metavar="VKEY", help="Trust only this verifier key (name+hash+key); repeat for witnesses."),
]


@command(app, "list", example="fedseal audit list cleveland --last 20")
def list_(
    folder: PartyArgument,
    last: Annotated[int, typer.Option("--last", min=1, help="How many entries, counted from the end.")] = 50,
    type_: Annotated[
        str | None, typer.Option("--type", help="Only entries whose type begins like this, such as `policy.`.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the newest entries of a party's audit log."""
    from sqlalchemy.orm import Session

    from fedseal.local import open_party
    from fedseal_governance.audit import Entry

    with open_party(folder) as party:
        log = party.log()

        def work(session: Session) -> list[Entry]:
            # Filtering reads the whole log; without a filter only the end is read.
            start = 0 if type_ else max(0, log.size(session) - last)
            entries = [item for item in log.entries(session, start=start) if item.type.startswith(type_ or "")]
            return entries[-last:]

        entries = party.read(work)
    if as_json:
        print_json(
            {
                "entries": [
                    {
                        "seq": item.seq,
                        "time": instant(item.time),
                        "type": item.type,
                        "actor": item.actor,
                        "subject": item.subject,
                        "details": item.details,
                    }
                    for item in entries
                ]
            }
        )
        return
    print_table(
        ("Seq", "Time (UTC)", "Type", "Actor", "Subject"),
        [(item.seq, day(item.time), item.type, item.actor, _short(item.subject)) for item in entries],
        folding=2,
        empty="The log has no such entries.",
    )


@command(app, "checkpoint", example="fedseal audit checkpoint cleveland")
def checkpoint(folder: PartyArgument, passphrase_file: PassphraseFile = None, as_json: JsonOption = False) -> None:
    """Sign the log as it stands; the note is what witnesses and auditors compare later."""
    from fedseal.local import open_party

    with open_party(folder) as party:
        key = party.folder.identity_key(folder_passphrase(party.folder, passphrase_file))
        log = party.log(key)
        moment = now()
        text = party.database.run("audit.checkpoint", lambda session: log.checkpoint(session, moment))
    if as_json:
        print_json({"checkpoint": text})
        return
    typer.echo(text, nl=False)


@command(app, "export", example="fedseal audit export cleveland cleveland-audit.zip")
def export(
    folder: PartyArgument,
    out: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A new folder, or a file that ends in .zip.")],
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Write the log with its documents as a bundle that anybody can verify offline."""
    from sqlalchemy.orm import Session

    from fedseal.evidence import documents_of
    from fedseal.local import open_party
    from fedseal_governance.audit import Exported

    with open_party(folder) as party:
        key = party.folder.identity_key(folder_passphrase(party.folder, passphrase_file))
        log = party.log(key)
        moment = now()
        party.database.run("audit.checkpoint", lambda session: log.checkpoint(session, moment))

        def work(session: Session) -> Exported:
            return log.export(session, out, documents_of(session, log, folder))

        done = party.read(work)
    if as_json:
        print_json({"bundle": str(out), "entries": done.size, "documents": done.documents})
        return
    say(f"{out} holds {done.size} entries and {done.documents} documents; verify it with: fedseal audit verify {out}")


@command(app, "verify", example="fedseal audit verify cleveland-audit.zip")
def verify(
    bundle: Annotated[
        Path,
        typer.Argument(metavar="BUNDLE", help="A bundle, a proof from `audit prove`, or the folder of a party."),
    ],
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a bundle or a proof offline; exits with 1 and names the first wrong entry if it does not hold.

    Of a party's folder the log in its database is checked, also while the party runs.
    """
    from fedseal.folders import PARTY_FILE
    from fedseal_governance.audit import verify_bundle

    require_existing(bundle, what="a bundle of `audit export` or a proof of `audit prove`")
    if (bundle / PARTY_FILE).is_file():
        _verify_live(bundle, as_json=as_json)
        return
    keys = trusted_keys(key)
    if bundle.is_file() and bundle.suffix != ".zip":
        _verify_proof(bundle, keys, as_json=as_json)
        return
    verified = verify_bundle(bundle, keys=keys)
    if as_json:
        print_json(
            {
                "verified": True,
                "log": verified.origin,
                "entries": verified.size,
                "root": verified.root.hex(),
                "key": verified.log_key.vkey,
                "pinned": verified.pinned,
                "cosignatures": len(verified.cosignatures),
                "documents": len(verified.documents),
                "removed": [
                    {
                        "subject": item.subject,
                        "kind": item.kind,
                        "time": instant(item.time),
                        "actor": item.actor,
                        "reason": item.reason,
                        "entry": item.entry,
                    }
                    for item in verified.removed
                ],
            }
        )
        return
    print_fields(
        {
            "Log": verified.origin,
            "Entries": f"{verified.size}, each in its place",
            "Root": verified.root.hex(),
            "Signed with": verified.log_key.vkey,
            "Witnesses": len(verified.cosignatures),
            "Documents": len(verified.documents),
            "Removed": _removed_words(verified),
            "Verified": "yes",
        }
    )
    for item in verified.removed[:_SHOWN_REMOVALS]:
        say(
            f"  entry {item.entry}: {_short(item.subject)} ({item.kind}) removed on {day(item.time)} by {item.actor}: "
            f"{item.reason}"
        )
    if not verified.pinned:
        note("The keys came from the bundle itself; compare them with what the party published, or give --key.")


@command(app, "prove", example="fedseal audit prove cleveland 17 --out entry-17.json")
def prove(
    folder: PartyArgument,
    seq: Annotated[int, typer.Argument(metavar="SEQ", min=0, help="The entry's number.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the proof here, not to stdout.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Prove that one entry is in the log, without showing the others."""
    from fedseal.files import write_atomic
    from fedseal.local import open_party

    with open_party(folder) as party:
        key = party.folder.identity_key(folder_passphrase(party.folder, passphrase_file))
        log = party.log(key)
        moment = now()
        party.database.run("audit.checkpoint", lambda session: log.checkpoint(session, moment))
        document = party.read(lambda session: log.prove(session, seq)).to_json()
    if out is None:
        typer.echo(document.decode("utf-8"))
        return
    write_atomic(out, document)
    if as_json:
        print_json({"proof": str(out), "seq": seq})
        return
    say(f"{out} proves entry {seq}; verify it with: fedseal audit verify {out}")


def _verify_live(folder: Path, *, as_json: bool) -> None:
    from fedseal.local import open_party, require_untouched

    with open_party(folder) as party:
        checked = require_untouched(party.database, party.log().origin)
    if as_json:
        print_json(
            {
                "verified": True,
                "log": checked.origin,
                "entries": checked.size,
                "root": checked.root.hex(),
                "checkpoints": checked.checkpoints,
            }
        )
        return
    print_fields(
        {
            "Log": checked.origin,
            "Entries": f"{checked.size}, each in its place",
            "Root": checked.root.hex(),
            "Checkpoints": f"{checked.checkpoints}, each agrees",
            "Verified": "yes, as far as the party's own database goes; witnesses know more",
        }
    )


def _verify_proof(file: Path, keys: "list[NoteVerifier] | None", *, as_json: bool) -> None:
    from fedseal.files import read_limited
    from fedseal_governance.audit import verify_proof
    from fedseal_governance.audit.proofs import MAX_PROOF

    proven = verify_proof(read_limited(file, max_bytes=MAX_PROOF, what="a proof"), keys=keys)
    entry = proven.entry
    if as_json:
        print_json({"verified": True, "seq": entry.seq, "log": entry.log, "type": entry.type, "details": entry.details})
        return
    print_fields(
        {
            "Log": entry.log,
            "Entry": f"{entry.seq}, {entry.type}",
            "Time": instant(entry.time),
            "Actor": entry.actor,
            "Subject": entry.subject,
            "Verified": f"yes, in the log of {proven.checkpoint.opened.checkpoint.size} entries",
        }
    )


def trusted_keys(texts: list[str] | None) -> "list[NoteVerifier] | None":
    """The keys of ``--key``; None if there are none, which trusts those in the evidence."""
    from fedseal_crypto.notes import NoteVerifier

    return None if not texts else [NoteVerifier.from_vkey(text) for text in texts]


def _removed_words(verified: "Verified") -> str:
    if not verified.removed:
        return "no document was deleted"
    more = len(verified.removed) - _SHOWN_REMOVALS
    tail = f"; the last {more} are not shown, see --json" if more > 0 else ""
    return f"{len(verified.removed)} documents were deleted since; their digests remain{tail}"


def _short(subject: str) -> str:
    """A digest in a table needs only its beginning."""
    return re.sub(r"[0-9a-f]{64}", lambda match: f"{match.group()[:12]}…", subject)
