"""What is done with a policy once it is written: propose, sign, end, list, show, and look back."""

from pathlib import Path
from typing import Annotated

import typer

from fedseal_cli.commands import JsonOption, YesOption, command
from fedseal_cli.local_options import AsOption, OptionalAsOption
from fedseal_cli.output import day, instant, print_fields, print_json, print_table, say, wrapped
from fedseal_cli.policy_desk import Card, Where, open_desk
from fedseal_cli.policy_files import FileArgument, policy_bytes, read_policy
from fedseal_cli.policy_output import (
    card_row,
    changed_row,
    missing,
    say_changes,
    say_impact,
    say_lines,
    say_text,
)
from fedseal_cli.secrets_input import PassphraseFile

PolicyArgument = Annotated[
    str, typer.Argument(metavar="POLICY", help="Name, name@version, or the first digits of the digest.")
]
OptionalNodeOption = Annotated[
    Path | None, typer.Option("--node", metavar="DIR", envvar="FEDSEAL_NODE", help="The node's folder.")
]
FederationOption = Annotated[
    bool, typer.Option("--federation", help="The federation's own policies, at the coordinator, instead of a node's.")
]
MIN_DIGEST_DIGITS = 8


def impact(
    file: FileArgument,
    node: OptionalNodeOption = None,
    federation: FederationOption = False,
    as_: OptionalAsOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Judge every past job again by a policy file, and list which verdicts would change and why.

    Each job is judged as if it came again today, or on the policy's first day, with what was recorded of it then;
    what was not recorded counts as no.
    """
    content = policy_bytes(file)
    where = Where(node=node, federation=federation, person=as_, passphrase_file=passphrase_file)
    document, _ = read_policy(file)
    with open_desk(where) as desk:
        jobs = desk.impact(content, str(file))
    if as_json:
        print_json({"policy": document.policy, "version": document.version, "jobs": [changed_row(i) for i in jobs]})
        return
    say_impact(jobs, document.title)


def propose(
    file: FileArgument,
    as_: AsOption,
    node: OptionalNodeOption = None,
    federation: FederationOption = False,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Put a policy file before the compliance officers of the data holder, or of the federation's members."""
    content = policy_bytes(file)
    read_policy(file)
    where = Where(node=node, federation=federation, person=as_, passphrase_file=passphrase_file)
    with open_desk(where) as desk:
        card = desk.propose(content, str(file))
    if as_json:
        print_json(card_row(card))
        return
    say(wrapped(f"The {card.document.title} is proposed (digest {card.digest[:16]}…); {missing(card)}."))


def approve(
    policy: PolicyArgument,
    as_: AsOption,
    node: OptionalNodeOption = None,
    federation: FederationOption = False,
    yes: YesOption = False,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Read what a proposed policy means and changes, then sign its exact bytes as compliance officer."""
    where = Where(node=node, federation=federation, person=as_, passphrase_file=passphrase_file)
    with open_desk(where) as desk:
        everything = desk.listed()
        wanted = _find(everything, policy, waiting=True)
        if not (yes and as_json):
            _show_before_signing(wanted, everything, to_stderr=as_json)
        if not yes:
            typer.confirm(f"Sign these rules as {desk.signer}?", abort=True, err=True)
        card = desk.sign(wanted)
        signer = desk.signer
    if as_json:
        print_json(card_row(card))
        return
    say(wrapped(f"{signer} has signed the {card.document.title}; {missing(card)}."))


def revoke(
    policy: PolicyArgument,
    reason: Annotated[str, typer.Option("--reason", help="For the log; without personal data.")],
    as_: AsOption,
    node: OptionalNodeOption = None,
    federation: FederationOption = False,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """End a policy at once; one compliance officer suffices, because this only takes permissions away."""
    where = Where(node=node, federation=federation, person=as_, passphrase_file=passphrase_file)
    with open_desk(where) as desk:
        card = desk.revoke(_find(desk.listed(), policy, waiting=False), reason)
    if as_json:
        print_json(card_row(card))
        return
    who = "every site contributes" if federation else "this site contributes"
    say(wrapped(f"The {card.document.title} is revoked; {who} to no further round under it."))


def list_(
    node: OptionalNodeOption = None,
    federation: FederationOption = False,
    as_: OptionalAsOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """List the policies of a node or of the federation with their state and signatures."""
    where = Where(node=node, federation=federation, person=as_, passphrase_file=passphrase_file)
    with open_desk(where) as desk:
        rows = desk.listed()
    if as_json:
        print_json({"policies": [card_row(card) for card in rows]})
        return
    nothing = (
        "The federation has no policy of its own; each node's own policy decides."
        if federation
        else "No policy was proposed yet; without one in force this node refuses every job."
    )
    print_table(
        ("Digest", "Version", "State", "Policy", "Signed by"),
        [
            (
                f"{card.digest[:12]}…",
                card.document.version,
                card.state.plain,
                card.document.policy,
                ", ".join(card.signers) or "nobody yet",
            )
            for card in rows
        ],
        empty=nothing,
        folding=2,
    )


def show(
    policy: PolicyArgument,
    node: OptionalNodeOption = None,
    federation: FederationOption = False,
    as_: OptionalAsOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Show a stored policy: its state, who signed it, and what it means."""
    from fedseal_governance import policy as library

    where = Where(node=node, federation=federation, person=as_, passphrase_file=passphrase_file)
    with open_desk(where) as desk:
        card = _find(desk.listed(), policy, waiting=False)
    text = library.explain(card.document)
    if as_json:
        print_json({**card_row(card), "content": card.content.decode("utf-8"), "explanation": text})
        return
    print_fields(
        {
            "Policy": card.document.title,
            "State": f"{card.state.plain}{f' ({card.reason})' if card.reason else ''}",
            "Digest": card.digest,
            "Proposed": f"{day(card.proposed_at)} UTC by {card.proposer}",
            "Signed by": ", ".join(card.signers) or "nobody yet",
        }
    )
    say("")
    say_text(text)


def history(
    policy: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Name of a policy; all of them if left out.")
    ] = None,
    node: OptionalNodeOption = None,
    federation: FederationOption = False,
    as_: OptionalAsOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Show all versions of a policy with who proposed, signed and ended them and when, from the audit log."""
    where = Where(node=node, federation=federation, person=as_, passphrase_file=passphrase_file)
    with open_desk(where) as desk:
        steps = desk.history(policy)
    if as_json:
        rows = [
            {
                "seq": item.seq,
                "time": instant(item.time),
                "what": item.what,
                "who": item.who,
                "policy": item.policy,
                "version": item.version,
                "note": item.note,
            }
            for item in steps
        ]
        print_json({"steps": rows})
        return
    if not steps:
        say("The log knows of no such policy.")
    for number, name in enumerate(dict.fromkeys(item.policy for item in steps)):
        say(f"{chr(10) if number else ''}{name}")
        lines = [
            (item.seq, day(item.time), item.version, item.what, item.who.removeprefix("person/"), item.note)
            for item in steps
            if item.policy == name
        ]
        print_table(("Entry", "Time (UTC)", "Version", "Step", "By", "Reason"), lines, empty="", folding=2)


def keeping(app: typer.Typer) -> None:
    """Add the commands of this module to the noun."""
    command(app, "impact", example="fedseal policy impact policy-v2.yaml --node cleveland")(impact)
    command(app, "propose", example="fedseal policy propose cleveland-policy.yaml --node cleveland --as olga")(propose)
    command(app, "approve", example="fedseal policy approve heart-risk-research --node cleveland --as olga")(approve)
    revoking = "fedseal policy revoke heart-risk-research --reason 'study ended' --node cleveland --as olga"
    command(app, "revoke", example=revoking)(revoke)
    command(app, "list", example="fedseal policy list --node cleveland")(list_)
    command(app, "show", example="fedseal policy show heart-risk-research --node cleveland")(show)
    command(app, "history", example="fedseal policy history heart-risk-research --node cleveland")(history)


def _find(policies: tuple[Card, ...], wanted: str, *, waiting: bool) -> Card:
    """The policy that a person means; of several versions the newest, or the newest that waits for signatures."""
    from fedseal_governance.errors import NotFound, RefusedError
    from fedseal_governance.policy.lifecycle import PolicyState

    name, _, version = wanted.partition("@")
    by_name = [item for item in policies if item.document.policy == name]
    if version:
        by_name = [item for item in by_name if str(item.document.version) == version]
    by_digest = [item for item in policies if len(wanted) >= MIN_DIGEST_DIGITS and item.digest.startswith(wanted)]
    found = by_name or by_digest
    if not found:
        raise NotFound(f"no policy here is called {wanted!r}; see `fedseal policy list`.")
    if by_digest and not by_name and len(by_digest) > 1:
        raise RefusedError(f"{wanted} is the beginning of several digests; give more digits.")
    if waiting:
        found = [item for item in found if item.state is PolicyState.PROPOSED] or found
    return max(found, key=lambda item: item.document.version)


def _show_before_signing(wanted: Card, everything: tuple[Card, ...], *, to_stderr: bool) -> None:
    """Explanation and difference, which an officer reads before the signature."""
    from fedseal_governance import policy as library
    from fedseal_governance.policy.lifecycle import PolicyState

    say_text(library.explain(wanted.document), to_stderr=to_stderr)
    current = [
        item
        for item in everything
        if item.state is PolicyState.IN_FORCE and item.document.policy == wanted.document.policy
    ]
    say_lines([""], to_stderr=to_stderr)
    if current:
        say_lines([f"Compared with version {current[0].document.version}, which is in force:"], to_stderr=to_stderr)
        say_changes(library.diff(current[0].document, wanted.document), to_stderr=to_stderr)
    else:
        say_lines(["No version of this policy is in force now."], to_stderr=to_stderr)
    signed = f"Signed so far by {', '.join(wanted.signers)}." if wanted.signers else "Nobody has signed it yet."
    lines = ["", f"Proposed by {wanted.proposer}. {signed}", f"The exact bytes have the digest {wanted.digest}."]
    say_lines(lines, to_stderr=to_stderr)
