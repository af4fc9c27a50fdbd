"""``fedseal retention``: how long documents and models are kept, legal holds, and deleting what is due."""

from typing import TYPE_CHECKING, Annotated

import typer

from fedseal_cli.authority_options import now
from fedseal_cli.commands import JsonOption, YesOption, command, noun
from fedseal_cli.local_options import AsOption, PartyArgument, person_in
from fedseal_cli.output import day, instant, print_json, print_table, say
from fedseal_cli.secrets_input import PassphraseFile

if TYPE_CHECKING:
    from datetime import datetime

    from fedseal.local import LocalParty
    from fedseal.retention import Kept

app = noun(
    "retention",
    "How long documents and models are kept, legal holds, and deleting what is due.",
    example="fedseal retention list coordinator",
)

JobOption = Annotated[
    str | None, typer.Option("--job", metavar="JOB", help="Name or digest of a job; without it, everything is held.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="For the log; without personal data.")]


@command(app, "list", example="fedseal retention list coordinator --due")
def list_(
    folder: PartyArgument,
    due: Annotated[bool, typer.Option("--due", help="Only what `retention apply` would delete now.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List documents and models with the day until which policies want them kept; deletes nothing."""
    from fedseal.local import open_party
    from fedseal.retention import kept_documents

    moment = now()
    with open_party(folder) as party:
        kept = [item for item in kept_documents(party) if item.due(moment) or not due]
    if as_json:
        print_json({"documents": [_as_json(item, moment) for item in kept]})
        return
    print_table(
        ("Digest", "Kind", "Kept until", "State", "Job"),
        [
            (
                f"{item.removal.digest[:12]}…",
                item.removal.kind,
                "always" if item.until is None else day(item.until),
                _state(item, moment),
                ", ".join(item.job_names),
            )
            for item in kept
        ],
        empty="Nothing is due." if due else "The party keeps no document or model of a job that has ended.",
    )


@command(app, "apply", example="fedseal retention apply coordinator --as olga")
def apply(
    folder: PartyArgument,
    as_: AsOption,
    yes: YesOption = False,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Delete what is due and not held, with an entry for each document; its digest stays in the log."""
    from fedseal.local import open_party
    from fedseal.retention import kept_documents, remove_due

    moment = now()
    with open_party(folder) as party:
        person = person_in(as_, passphrase_file)
        waiting = sum(item.due(moment) for item in kept_documents(party))
        if waiting and not yes:
            typer.confirm(f"Delete {waiting} documents and models for good?", abort=True)
        removed = remove_due(party, person, now=moment)
    if as_json:
        print_json({"removed": [_as_json(item, moment) for item in removed]})
        return
    say(f"{len(removed)} documents and models were deleted; their digests and the reason are in the audit log.")


@command(app, "hold", example="fedseal retention hold coordinator --job heart-risk --reason 'case 7/26' --as olga")
def hold(
    folder: PartyArgument,
    reason: ReasonOption,
    as_: AsOption,
    job: JobOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Place a legal hold: nothing of the job, or of all jobs, is deleted until it is released."""
    from fedseal.local import open_party
    from fedseal.retention import owner_of
    from fedseal_governance.retention import place_hold

    with open_party(folder) as party:
        person = person_in(as_, passphrase_file)
        subject, log, owner = _subject(party, job), party.log(), owner_of(party)
        entry = party.run(
            "retention.hold",
            lambda act: place_hold(act, log, subject=subject, reason=reason, officer=person.member, owner=owner),
            now=now(),
            person=person,
        )
    _told(subject, entry, "is held", as_json=as_json)


@command(
    app, "release", example="fedseal retention release coordinator --job heart-risk --reason 'case closed' --as otto"
)
def release(
    folder: PartyArgument,
    reason: ReasonOption,
    as_: AsOption,
    job: JobOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Release a legal hold; another officer than the one who placed it must do so."""
    from fedseal.local import open_party
    from fedseal.retention import owner_of
    from fedseal_governance.retention import release_hold

    with open_party(folder) as party:
        person = person_in(as_, passphrase_file)
        subject, log, owner = _subject(party, job), party.log(), owner_of(party)
        entry = party.run(
            "retention.release",
            lambda act: release_hold(act, log, subject=subject, reason=reason, officer=person.member, owner=owner),
            now=now(),
            person=person,
        )
    _told(subject, entry, "is no longer held", as_json=as_json)


@command(app, "holds", example="fedseal retention holds coordinator")
def holds(folder: PartyArgument, as_json: JsonOption = False) -> None:
    """List the legal holds in force."""
    from fedseal.local import open_party
    from fedseal_governance.retention import holds_in_force

    with open_party(folder) as party:
        log = party.log()
        found = party.read(lambda session: holds_in_force(session, log))
    if as_json:
        print_json(
            {
                "holds": [
                    {
                        "subject": item.subject,
                        "reason": item.reason,
                        "placed_by": item.placed_by,
                        "placed_at": instant(item.placed_at),
                        "entry": item.entry,
                    }
                    for item in found
                ]
            }
        )
        return
    print_table(
        ("Held", "Since", "Entry", "Placed by", "Reason"),
        [(_named(item.subject), day(item.placed_at), item.entry, item.placed_by, item.reason) for item in found],
        folding=2,
        empty="No legal hold is in force.",
    )


def _subject(party: "LocalParty", job: str | None) -> str:
    from fedseal.retention import job_digest
    from fedseal_governance.retention import EVERYTHING

    return EVERYTHING if job is None else f"job/{job_digest(party, job)}"


def _told(subject: str, entry: int, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"subject": subject, "entry": entry})
        return
    say(f"{_named(subject)} {what}, by entry {entry} of the audit log.")


def _named(subject: str) -> str:
    kind, _, digest = subject.partition("/")
    return f"job {digest[:12]}…" if kind == "job" else "everything"


def _state(item: "Kept", moment: "datetime") -> str:
    if item.hold is not None:
        return f"held by entry {item.hold.entry}"
    return "due" if item.due(moment) else "kept"


def _as_json(item: "Kept", moment: "datetime") -> dict[str, object]:
    return {
        "digest": item.removal.digest,
        "kind": item.removal.kind,
        "jobs": list(item.job_names),
        "until": None if item.until is None else instant(item.until),
        "held_by_entry": None if item.hold is None else item.hold.entry,
        "due": item.due(moment),
        "rule": item.removal.rule,
    }
