"""``fedseal node``: invite and enrol a data holder, run its node, and see how it is."""

from pathlib import Path
from typing import Annotated

import typer

from fedseal_cli.authority_options import (
    AuthorityOption,
    HoursOption,
    OrganisationOption,
    OutOption,
    now,
    write_invitation,
)
from fedseal_cli.commands import JsonOption, command, noun
from fedseal_cli.enrolment import (
    AnswerOption,
    EnrolmentOptions,
    FingerprintOption,
    FolderOption,
    InvitationOption,
    OfflineOption,
    run_enrolment,
)
from fedseal_cli.local_options import AsOption, NodeOption, open_node, person_in
from fedseal_cli.output import day, instant, note, print_fields, print_json, print_table, say
from fedseal_cli.remote import CoordinatorOption, connected
from fedseal_cli.secrets_input import PassphraseFile

app = noun(
    "node",
    "Invite and enrol a data holder, run its node, and see how it is.",
    example="fedseal node run --folder cleveland",
)


@command(
    app,
    "invite",
    example="fedseal node invite cleveland --organisation 'Cleveland Clinic' "
    "--out cleveland.json --authority authority",
)
def invite(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The node's name in the federation.")],
    organisation: OrganisationOption,
    out: OutOption,
    authority: AuthorityOption,
    expires_hours: HoursOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the invitation of a node, to be used on its own machine."""
    from fedseal.authority.views import Invitee

    invitee = Invitee.parse(kind="node", name=name, organisation=organisation, roles=(), hosts=())
    write_invitation(authority, invitee, out=out, hours=expires_hours, as_json=as_json)


@command(app, "enrol", alias="enroll", example="fedseal node enrol --invitation cleveland.json --folder cleveland")
def enrol(
    folder: FolderOption,
    invitation: InvitationOption = None,
    offline: OfflineOption = None,
    answer: AnswerOption = None,
    fingerprint: FingerprintOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Make the node's keys on this machine and fetch their certificates."""
    run_enrolment(
        EnrolmentOptions(
            kind="node",
            folder=folder,
            invitation=invitation,
            offline=offline,
            answer=answer,
            fingerprint=fingerprint,
            passphrase_file=passphrase_file,
            as_json=as_json,
        )
    )


@command(app, "run", example="fedseal node run --folder cleveland")
def run(
    folder: FolderOption,
    coordinator: CoordinatorOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log debugging details.")] = False,
) -> None:
    """Run the node in the foreground until Ctrl-C or SIGTERM; it connects outwards only and reconnects by itself."""
    from fedseal import logs
    from fedseal.node.run import run_node

    logs.configure(verbose=verbose)
    run_node(folder, coordinator=coordinator, ready=lambda address: note(f"The node connects to {address}."))


@command(app, "status", example="fedseal node status cleveland")
def status(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The node's folder.")], as_json: JsonOption = False
) -> None:
    """Show from the node's own folder who it is, what it offers, and which jobs it takes part in."""
    from fedseal.standing import node_standing

    with open_node(folder) as party:
        standing = node_standing(party, now())
    if as_json:
        print_json(
            {
                "federation": standing.federation,
                "node": standing.name,
                "organisation": standing.organisation,
                "coordinator": standing.coordinator,
                "certificate_until": instant(standing.certificate_until),
                "revocation_list": standing.revocation_number,
                "revocation_list_due": instant(standing.revocation_due),
                "datasets": list(standing.datasets),
                "policies": list(standing.policies),
                "jobs": [{"job": job.name, "digest": job.digest, "state": job.state} for job in standing.jobs],
                "log_entries": standing.log_entries,
                "warnings": list(standing.warnings),
            }
        )
        return
    print_fields(
        {
            "Node": f"{standing.name} of {standing.organisation}, in {standing.federation}",
            "Coordinator": standing.coordinator or "not set (node.yaml)",
            "Certificate": f"until {day(standing.certificate_until)} UTC",
            "Revocation list": f"{standing.revocation_number}, next due {day(standing.revocation_due)} UTC",
            "Datasets": ", ".join(standing.datasets) or "none",
            "Policies in force": ", ".join(standing.policies) or "none; every job is refused",
            "Audit log": f"{standing.log_entries} entries",
        }
    )
    say("")
    print_table(
        ("Job", "State", "Digest"),
        [(job.name, job.state, f"{job.digest[:16]}…") for job in standing.jobs],
        empty="No job was offered yet.",
    )
    for warning in standing.warnings:
        note(f"Warning: {warning}")


@command(app, "list", example="fedseal node list --as ada")
def list_(
    as_: AsOption,
    coordinator: CoordinatorOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """List the nodes that are present at the coordinator."""
    with connected(as_, passphrase_file, coordinator) as client:
        nodes = client.nodes().nodes
    if as_json:
        print_json(
            {
                "nodes": [
                    {
                        "node": item.node,
                        "organisation": item.organisation,
                        "present": item.attending,
                        "since": item.since,
                        "datasets": list(item.datasets),
                        "certificate_until": item.certificate_expires,
                    }
                    for item in nodes
                ]
            }
        )
        return
    print_table(
        ("Node", "Since (UTC)", "Organisation", "Datasets"),
        [(item.node, item.since[:16].replace("T", " "), item.organisation, ", ".join(item.datasets)) for item in nodes],
        empty="No node is present.",
        folding=2,
    )


@command(app, "agree", example="fedseal node agree job.yaml --node cleveland --as nora")
def agree(
    job: Annotated[str, typer.Argument(metavar="JOB", help="The job file, or its digest (64 digits).")],
    node: NodeOption,
    as_: AsOption,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Agree to one job as node operator, where the policy asks for that."""
    from fedseal.agreement import agree_to_job

    with open_node(node) as party:
        person = person_in(as_, passphrase_file)
        digest = agree_to_job(party, job, person=person, now=now())
    if as_json:
        print_json({"job": digest, "operator": person.label})
        return
    say(f"{person.label} agrees to the job {digest[:16]}… at {party.label}.")
