"""Threshold custody of a job's key at rest: splitting it among organisations, and bringing shares together.

What it protects: a stolen disk, backup or passphrase of the custodian opens nothing, and after a restart no single
organisation can have sums opened; k of n must agree, by people of their own who are named in the log.

What it does not: while the custodian's process runs it holds the whole key, and whoever controls that process or
its machine then has it. The shares come together on that one machine. This is custody, not threshold decryption.

Rules kept here:

1. Two compliance officers of the custodian's organisation split a key; each proves to hold their own.
2. A share is brought by a person of the organisation that holds it, every share by somebody else.
3. Reassembled, a key serves one run of the process (``fedseal.custodian.vault``).
4. Both are entries in the custodian's log.
5. The key is replaced when every share is on the disk: whatever fails before leaves it as it was.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from fedseal.custodian.vault import Vault
from fedseal.errors import RefusalError, SetupError
from fedseal.files import make_folder, read_limited, write_atomic
from fedseal.local import LocalParty, Person
from fedseal_crypto.homomorphic import OpenedShare, Passphrase, open_share
from fedseal_crypto.identity import Role
from fedseal_governance import custody
from fedseal_governance.acts import Act
from fedseal_governance.custody import ServedJobRow

OFFICERS = 2
MAX_SHARE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Splitting:
    """How a key is split, and by whom.

    Attributes:
        threshold: How many shares open it, 2 to the number of holders.
        holders: Organisation to the passphrase that it chose for its share.
        officers: Who splits it.
        out: An empty place for the shares.
    """

    threshold: int
    holders: Mapping[str, Passphrase]
    officers: Sequence[Person]
    out: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class BroughtShare:
    """A share file, the passphrase that seals it, and who brings it."""

    file: Path
    passphrase: Passphrase
    person: Person


def find_job(party: LocalParty, wanted: str) -> ServedJobRow:
    """The live job whose digest begins with ``wanted``, or whose name it is.

    Raises:
        RefusalError: none matches, or several do.
    """

    def work(session: Session) -> tuple[ServedJobRow, ...]:
        return custody.served_jobs(session, live=True)

    rows = [row for row in party.read(work) if wanted and (row.digest.startswith(wanted) or row.name == wanted)]
    if len(rows) != 1:
        sentence = f"{len(rows)} jobs with a key here match {wanted!r}; `fedseal custodian status` lists them"
        raise RefusalError(sentence)
    return rows[0]


def split_job_key(
    party: LocalParty,
    vault: Vault,
    job: ServedJobRow,
    splitting: Splitting,
    *,
    now: datetime,
) -> tuple[Path, ...]:
    """Split a job's key among organisations; the files of the shares, to be handed out.

    Args:
        party: The custodian.
        vault: Its sealed keys.
        job: Whose key.
        splitting: How, and by whom.
        now: The present.

    Raises:
        RefusalError: The officers are too few or another organisation's, or the key is split already.
        MisuseError: The threshold is impossible.
        SetupError: ``out`` holds something.
    """
    holders, officers, out = splitting.holders, splitting.officers, splitting.out
    organisation = party.folder.record.organisation
    _require_officers(officers, organisation)
    if vault.is_split(job.digest):
        raise RefusalError(f"the key of {job.name} is split already; its shares are with their organisations")
    if out.exists() and any(out.iterdir()):
        raise SetupError(f"{out} is not empty; give a new folder for the shares")
    files = {name: out / f"{job.digest[:12]}-{_slug(name)}.share" for name in holders}
    if len(set(files.values())) < len(files):
        raise SetupError("two organisations' names are too alike to name their files; write them differently")

    def work(act: Act) -> None:
        act.note(
            "key.split",
            f"job/{job.digest}",
            key=job.key_digest,
            threshold=splitting.threshold,
            holders=sorted(holders),
            officers=[person.label for person in officers],
        )
        vault.keep_split(job.digest, parts)  # from here on the shares are what opens it

    parts = vault.split(job.digest, threshold=splitting.threshold, holders=dict(holders))
    new = not out.exists()
    try:
        make_folder(out)
        for name, file in files.items():
            write_atomic(file, parts.shares[name], private=True)
        party.run("custody.split", work, now=now, person=officers[0])
    except BaseException:
        if not vault.is_split(job.digest):  # shares of a key that was not split open nothing
            for file in files.values():
                file.unlink(missing_ok=True)
            if new and out.exists():
                out.rmdir()
        raise
    return tuple(files[name] for name in holders)


def reassemble_job_key(
    party: LocalParty, vault: Vault, job: ServedJobRow, shares: Sequence[BroughtShare], *, now: datetime
) -> None:
    """Bring shares of a job's key together for the next run of the custodian's process.

    Raises:
        RefusalError: A share is brought by somebody who is not of the organisation that holds it, or one person
            brings two.
        SealRefused, WrongLock, ShareRefused, SharesInsufficient: The shares do not open the key.
    """
    people = [brought.person.label for brought in shares]
    if len(set(people)) < len(people):
        raise RefusalError("one person brings two shares; each organisation's share is brought by somebody of its own")
    opened = [_opened(brought) for brought in shares]

    def work(act: Act) -> None:
        act.note(
            "key.reassembled",
            f"job/{job.digest}",
            key=job.key_digest,
            holders=sorted(str(share.facts.holder) for share in opened),
            people=people,
        )
        vault.release(job.digest, opened)

    party.run("custody.reassemble", work, now=now, person=shares[0].person if shares else None)


def _opened(brought: BroughtShare) -> OpenedShare:
    data = read_limited(brought.file, max_bytes=MAX_SHARE_BYTES, what="a key share")
    share = open_share(data, passphrase=brought.passphrase)
    organisation = brought.person.member.organisation
    if share.facts.holder != organisation:
        raise RefusalError(
            f"{brought.file} is the share of {share.facts.holder} and {brought.person.label} is of {organisation}; "
            "let somebody of that organisation bring it"
        )
    return share


def _require_officers(officers: Sequence[Person], organisation: str) -> None:
    names = {person.label for person in officers}
    right = [
        person
        for person in officers
        if Role.COMPLIANCE_OFFICER in person.member.roles and person.member.organisation == organisation
    ]
    if len(names) < OFFICERS or len(right) < len(officers):
        raise RefusalError(
            f"a key is split by {OFFICERS} different compliance officers of {organisation}; name each with --as"
        )


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "organisation"
