"""``fedseal custodian``: enrol the separate party that holds decryption keys."""

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
from fedseal_cli.secrets_input import PassphraseFile

app = noun(
    "custodian",
    "Enrol the separate party that holds decryption keys.",
    example="fedseal custodian enrol --invitation custodian.json --folder custodian",
)


@command(
    app,
    "enrol",
    alias="enroll",
    example="fedseal custodian enrol --invitation custodian.json --folder custodian",
)
def enrol(
    folder: FolderOption,
    invitation: InvitationOption = None,
    offline: OfflineOption = None,
    answer: AnswerOption = None,
    fingerprint: FingerprintOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Make the custodian's keys on this machine and fetch their certificates."""
    run_enrolment(
        EnrolmentOptions(
            kind="custodian",
            folder=folder,
            invitation=invitation,
            offline=offline,
            answer=answer,
            fingerprint=fingerprint,
            passphrase_file=passphrase_file,
            as_json=as_json,
        )
    )
