"""``fedseal policy``: read, compare, propose, sign and end the rules that a data holder sets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedseal_cli.authority_options import now
from fedseal_cli.commands import JsonOption, YesOption, command, noun
from fedseal_cli.local_options import AsOption, NodeOption, open_node, person_in
from fedseal_cli.output import day, instant, print_fields, print_json, print_table, say
from fedseal_cli.secrets_input import PassphraseFile

if TYPE_CHECKING:
    from fedseal_governance.policy import Change, PolicyDocument
    from fedseal_governance.policy.store import StoredPolicy

app = noun(
    "policy",
    "Read, compare, propose, sign and end the rules that a data holder sets.",
    example="fedseal policy explain cleveland-policy.yaml",
)

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A policy file (YAML).")]
PolicyArgument = Annotated[
    str, typer.Argument(metavar="POLICY", help="Name, name@version, or the first digits of the digest.")
]
MIN_DIGEST_DIGITS = 8


@command(app, "validate", example="fedseal policy validate cleveland-policy.yaml")
def validate(file: FileArgument, as_json: JsonOption = False) -> None:
    """Check a policy file; each problem is named with line, field and the nearest valid word."""
    document, digest = _read(file)
    if as_json:
        print_json({"file": str(file), "policy": document.policy, "version": document.version, "digest": digest})
        return
    say(f"{file} is valid: {document.title} of {document.owner}.")


@command(app, "explain", example="fedseal policy explain cleveland-policy.yaml")
def explain(file: FileArgument, as_json: JsonOption = False) -> None:
    """Say in plain English what a policy allows and forbids, field by field."""
    from fedseal_governance import policy as library

    document, digest = _read(file)
    text = library.explain(document)
    if as_json:
        print_json({"policy": document.policy, "version": document.version, "digest": digest, "explanation": text})
        return
    _say_wrapped(text)


@command(app, "diff", example="fedseal policy diff policy-v1.yaml policy-v2.yaml")
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The earlier version.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The later version.")],
    as_json: JsonOption = False,
) -> None:
    """Say in words what a new version allows and forbids that the old one did not."""
    from fedseal_governance import policy as library

    changes = library.diff(_read(old)[0], _read(new)[0])
    if as_json:
        print_json(
            {
                "changes": [
                    {"kind": item.kind.value, "clause": item.clause, "sentence": item.sentence} for item in changes
                ]
            }
        )
        return
    _say_changes(changes)


@command(app, "propose", example="fedseal policy propose cleveland-policy.yaml --node cleveland --as olga")
def propose(
    file: FileArgument,
    node: NodeOption,
    as_: AsOption,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Put a policy file before the compliance officers of the data holder."""
    from fedseal.files import read_limited
    from fedseal_governance.documents import MAX_BYTES
    from fedseal_governance.policy import store
    from fedseal_governance.vocabulary import PolicyLevel

    content = read_limited(file, max_bytes=MAX_BYTES, what="a policy file")
    with open_node(node) as party:
        person = person_in(as_, passphrase_file)
        owner = store.Owner(level=PolicyLevel.NODE, name=party.folder.record.organisation)
        stored = party.run(
            "policy.propose",
            lambda act: store.propose(act, content, filename=str(file), owner=owner, proposer=person.member),
            now=now(),
            person=person,
        )
    if as_json:
        print_json(_row(stored))
        return
    say(f"{stored.document.title} is proposed (digest {stored.digest[:16]}…); {_missing(stored)}.")


@command(app, "approve", example="fedseal policy approve heart-risk-research --node cleveland --as olga")
def approve(
    policy: PolicyArgument,
    node: NodeOption,
    as_: AsOption,
    yes: YesOption = False,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Read what a proposed policy means and changes, then sign its exact bytes as compliance officer."""
    from fedseal_crypto.dsse import sign_document
    from fedseal_governance.policy import store

    with open_node(node) as party:
        person = person_in(as_, passphrase_file)
        everything = party.read(store.list_policies)
        wanted = _find(everything, policy, waiting=True)
        if not (yes and as_json):
            _show_before_signing(wanted, everything, to_stderr=as_json)
        if not yes:
            typer.confirm(f"Sign these rules as {person.label}?", abort=True, err=True)
        signature = sign_document(
            store.POLICY_TYPE, wanted.content, key=person.key, certificate_pem=person.certificate_pem
        )
        moment = now()
        trust = party.trust(moment)
        stored = party.run(
            "policy.approve",
            lambda act: store.approve(act, wanted.digest, signature, trust),
            now=moment,
            person=person,
        )
    if as_json:
        print_json(_row(stored))
        return
    say(f"{person.label} has signed {stored.document.title}; {_missing(stored)}.")


@command(
    app, "revoke", example="fedseal policy revoke heart-risk-research --reason 'study ended' --node cleveland --as olga"
)
def revoke(
    policy: PolicyArgument,
    reason: Annotated[str, typer.Option("--reason", help="For the log; without personal data.")],
    node: NodeOption,
    as_: AsOption,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """End a policy at once; one compliance officer suffices, because this only takes permissions away."""
    from fedseal_governance.policy import store

    with open_node(node) as party:
        person = person_in(as_, passphrase_file)
        wanted = _find(party.read(store.list_policies), policy, waiting=False)
        stored = party.run(
            "policy.revoke",
            lambda act: store.revoke(act, wanted.digest, person.member, reason),
            now=now(),
            person=person,
        )
    if as_json:
        print_json(_row(stored))
        return
    say(f"{stored.document.title} is revoked; this site contributes to no further round under it.")


@command(app, "list", example="fedseal policy list --node cleveland")
def list_(node: NodeOption, as_json: JsonOption = False) -> None:
    """List the policies of a node with their state and signatures."""
    from fedseal_governance.policy import store

    with open_node(node) as party:
        rows = party.read(store.list_policies)
    if as_json:
        print_json({"policies": [_row(stored) for stored in rows]})
        return
    print_table(
        ("Digest", "Version", "State", "Policy", "Signed by"),
        [
            (
                f"{stored.digest[:12]}…",
                stored.document.version,
                stored.state.plain,
                stored.document.policy,
                ", ".join(stored.signers) or "nobody yet",
            )
            for stored in rows
        ],
        empty="No policy was proposed yet; without one in force this node refuses every job.",
        folding=2,
    )


@command(app, "show", example="fedseal policy show heart-risk-research --node cleveland")
def show(policy: PolicyArgument, node: NodeOption, as_json: JsonOption = False) -> None:
    """Show a stored policy: its state, who signed it, and what it means."""
    from fedseal_governance import policy as library
    from fedseal_governance.policy import store

    with open_node(node) as party:
        stored = _find(party.read(store.list_policies), policy, waiting=False)
    text = library.explain(stored.document)
    if as_json:
        print_json({**_row(stored), "content": stored.content.decode("utf-8"), "explanation": text})
        return
    print_fields(
        {
            "Policy": stored.document.title,
            "State": f"{stored.state.plain}{f' ({stored.reason})' if stored.reason else ''}",
            "Digest": stored.digest,
            "Proposed": f"{day(stored.proposed_at)} UTC by {stored.proposer}",
            "Signed by": ", ".join(stored.signers) or "nobody yet",
        }
    )
    say("")
    _say_wrapped(text)


def _read(file: Path) -> "tuple[PolicyDocument, str]":
    from fedseal.files import read_limited
    from fedseal_crypto.digests import sha256_hex
    from fedseal_governance.documents import MAX_BYTES
    from fedseal_governance.policy import load_policy

    content = read_limited(file, max_bytes=MAX_BYTES, what="a policy file")
    return load_policy(content, str(file)), sha256_hex(content)


def _find(policies: "tuple[StoredPolicy, ...]", wanted: str, *, waiting: bool) -> "StoredPolicy":
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


def _show_before_signing(wanted: "StoredPolicy", everything: "tuple[StoredPolicy, ...]", *, to_stderr: bool) -> None:
    """Explanation and difference, which an officer reads before the signature."""
    from fedseal_governance import policy as library
    from fedseal_governance.policy.lifecycle import PolicyState

    _say_wrapped(library.explain(wanted.document), to_stderr=to_stderr)
    current = [
        item
        for item in everything
        if item.state is PolicyState.IN_FORCE and item.document.policy == wanted.document.policy
    ]
    if current:
        _say_lines([f"Compared with version {current[0].document.version}, which is in force:"], to_stderr=to_stderr)
        _say_changes(library.diff(current[0].document, wanted.document), to_stderr=to_stderr)
    else:
        _say_lines(["No version of this policy is in force now."], to_stderr=to_stderr)


def _missing(stored: "StoredPolicy") -> str:
    from fedseal_governance.policy.lifecycle import PolicyState

    if stored.state is PolicyState.IN_FORCE:
        return "it is in force now"
    if stored.state is PolicyState.APPROVED:
        return f"it is approved and comes into force on {stored.document.valid.start}"
    return f"{stored.signatures_missing} more compliance officer(s) must sign it"


def _row(stored: "StoredPolicy") -> dict[str, object]:
    return {
        "policy": stored.document.policy,
        "version": stored.document.version,
        "digest": stored.digest,
        "state": stored.state.value,
        "proposer": stored.proposer,
        "proposed_at": instant(stored.proposed_at),
        "signers": list(stored.signers),
        "signatures_missing": stored.signatures_missing,
        "in_force_at": None if stored.in_force_at is None else instant(stored.in_force_at),
        "ended_at": None if stored.ended_at is None else instant(stored.ended_at),
        "reason": stored.reason,
    }


def _say_changes(changes: "list[Change]", *, to_stderr: bool = False) -> None:
    from fedseal_governance.policy import Direction

    headings = {
        Direction.ALLOWED: "What becomes allowed:",
        Direction.FORBIDDEN: "What becomes forbidden:",
        Direction.OTHER: "What else changes:",
    }
    if not changes:
        _say_lines(["Nothing changes."], to_stderr=to_stderr)
    for kind, heading in headings.items():
        sentences = [item.sentence for item in changes if item.kind is kind]
        if sentences:
            _say_lines([heading, *(f"  - {sentence}" for sentence in sentences)], to_stderr=to_stderr)


def _say_wrapped(text: str, *, to_stderr: bool = False) -> None:
    _say_lines(text.rstrip("\n").split("\n"), to_stderr=to_stderr)


def _say_lines(lines: list[str], *, to_stderr: bool) -> None:
    from fedseal_cli.output import note, wrapped

    for line in lines:
        (note if to_stderr else say)(wrapped(line))
