"""Brings a file of consents in: all of it, or nothing with a report of the bad rows.

Rules kept here:

1. The file is read row by row and stored in batches within one transaction; memory does not grow with the file.
2. A consent that is known already is skipped and counted; importing the same file again changes nothing. So is one that
   was given on or before the day on which the person withdrew: an old export never revives a consent.
3. What a file says was refused or taken back (FHIR only) ends the consents it concerns, those of the same file too.
4. The report names row, field, value, fault and remedy, but never a pseudonym.
5. The log holds the file's digest and the counts.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

from sqlalchemy import select, text, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import Session

from fedseal_crypto.digests import Digest
from fedseal_governance.acts import Act
from fedseal_governance.consent.csv_file import CsvReader
from fedseal_governance.consent.ending import Blocks, blocks, deny, is_blocked
from fedseal_governance.consent.fhir_file import FhirReader, looks_like_json
from fedseal_governance.consent.fhir_meaning import Translation
from fedseal_governance.consent.model import Consent, Denial, day_of
from fedseal_governance.consent.persons import Register, require_key
from fedseal_governance.consent.rows import Findings, HashedFile, Problems, Reader, Unwatched, Watch, named
from fedseal_governance.consent.tables import ConsentRow, ImportRow

Form = Literal["csv", "fhir"]

_BATCH = 10_000

_POSTGRESQL_INSERT = text(
    """
    INSERT INTO consents (dataset, pseudonym, purpose, given_on, valid_from, valid_until, form_version, recorded_by,
                          recorded_at, source)
    SELECT :dataset, pseudonym, purpose, given_on, valid_from, valid_until, form_version, recorded_by, :recorded_at,
           :source
    FROM unnest(CAST(:pseudonym AS text[]), CAST(:purpose AS text[]), CAST(:given_on AS date[]),
                CAST(:valid_from AS date[]), CAST(:valid_until AS date[]), CAST(:form_version AS text[]),
                CAST(:recorded_by AS text[]))
         AS new (pseudonym, purpose, given_on, valid_from, valid_until, form_version, recorded_by)
    ON CONFLICT DO NOTHING
    """
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """How a file is to be read.

    Attributes:
        form: its format, None to look at its first character.
        purpose_codes: the policy's own table of codes; FHIR only.
        form_version: the form that was signed, where a FHIR resource names none.
        identifier_system: take the pseudonym from the patient identifier of this system; FHIR only.
    """

    form: Form | None = None
    purpose_codes: Mapping[str, str] = field(default_factory=dict)
    form_version: str | None = None
    identifier_system: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did.

    Attributes:
        form: the file's format.
        rows: rows or resources in the file.
        consents: consents they state; a row may state none or several.
        added: consents that are new.
        known: consents that were stored before.
        withdrawn: consents left out because the person has withdrawn since.
        denials: refusals and withdrawals in the file that were new.
        ended: consents that these ended, be they of this file or older.
        digest: SHA-256 of the file.
    """

    form: Form
    rows: int
    consents: int
    added: int
    known: int
    withdrawn: int
    denials: int
    ended: int
    digest: Digest


@dataclass(slots=True)
class _Counts:
    source: int
    consents: int = 0
    added: int = 0
    left_out: int = 0


def import_consents(
    act: Act,
    register: Register,
    path: Path,
    *,
    options: ImportOptions | None = None,
    watch: Watch | None = None,
) -> ImportReport:
    """Import a file of consents.

    Args:
        act: who imports it, and when.
        register: which dataset's records the pseudonyms are.
        path: the file, CSV or FHIR; read anew if the transaction is repeated.
        options: how to read it.
        watch: told of progress and of each bad row.

    Raises:
        DocumentError: with the first bad rows up to `MAX_REPORTED`; nothing was stored.
        TamperError: the register's key is not the one of the database.
    """
    require_key(act.session, register.key)
    watching = Unwatched() if watch is None else watch
    watching.begin()
    problems = Problems(named(path), watching)
    try:
        with path.open("rb") as stream:
            form: Form = (options.form if options else None) or ("fhir" if looks_like_json(stream) else "csv")
            file = HashedFile(stream, watching)
            reader = _reader(file, problems, form, options or ImportOptions(), act)
            return _bring_in(act, register, reader, problems, (form, file))
    except OSError as error:
        raise problems.stop(None, f"the file cannot be read ({error.strerror})", "check the path") from None


def _reader(file: HashedFile, problems: Problems, form: Form, options: ImportOptions, act: Act) -> Reader:
    today = day_of(act.now)
    if form == "csv":
        return CsvReader(file, problems, today=today)
    translation = Translation(
        today=today,
        recorded_by=act.actor,
        purpose_codes=options.purpose_codes,
        form_version=options.form_version,
        identifier_system=options.identifier_system,
    )
    return FhirReader(file, problems, translation)


def _bring_in(
    act: Act, register: Register, reader: Reader, problems: Problems, source: tuple[Form, HashedFile]
) -> ImportReport:
    form, file = source
    denials: dict[Denial, None] = {}
    withdrawn = blocks(act.session, register.dataset)
    row = ImportRow(dataset=register.dataset, digest="", form=form, imported_at=act.now, imported_by=act.actor)
    act.session.add(row)
    act.session.flush()
    counts = _Counts(source=row.id)
    findings = reader.findings()
    while batch := list(islice(findings, _BATCH)):
        denials.update(dict.fromkeys(denial for item in batch for denial in item.denials))
        # After the first bad row the file is read to its end for the report, but nothing more is stored.
        if not problems.found:
            _store_batch(act, register, batch, withdrawn, counts)
    problems.require_none()
    new, ended = deny(act, register, denials)
    _settle_source(act.session, row, file.digest)
    report = ImportReport(
        form=form,
        rows=reader.rows,
        consents=counts.consents,
        added=counts.added,
        known=counts.consents - counts.left_out - counts.added,
        withdrawn=counts.left_out,
        denials=new,
        ended=ended,
        digest=file.digest,
    )
    details = {key: value for key, value in asdict(report).items() if key != "digest"}
    act.note("consent.imported", f"dataset/{register.dataset}", file=report.digest, **details)
    return report


def _settle_source(session: Session, row: ImportRow, digest: Digest) -> None:
    """Give the import its file's digest, or its consents to the earlier import of the same file."""
    same = select(ImportRow).where(ImportRow.dataset == row.dataset, ImportRow.digest == digest)
    earlier = session.scalar(same)
    if earlier is None:
        row.digest = digest
        session.flush()
        return
    session.execute(update(ConsentRow).where(ConsentRow.source == row.id).values(source=earlier.id))
    session.delete(row)
    session.flush()


def _store_batch(act: Act, register: Register, batch: list[Findings], withdrawn: Blocks, counts: _Counts) -> None:
    stated = [consent for item in batch for consent in item.consents]
    kept = stated
    if withdrawn:
        leaf = register.key.leaf
        kept = [item for item in stated if not is_blocked(item, withdrawn.get(leaf(item.pseudonym).hex(), ()))]
    counts.consents += len(stated)
    counts.left_out += len(stated) - len(kept)
    counts.added += _store(act, register.dataset, kept, counts.source)


def _store(act: Act, dataset: str, batch: list[Consent], source: int) -> int:
    """Insert a batch in one statement and return how many rows were new."""
    if not batch:
        return 0
    if act.session.connection().dialect.name == "sqlite":
        return _store_in_sqlite(act, dataset, batch, source)
    result = act.session.connection().execute(
        # One statement for the whole batch; row by row the driver would wait for the network each time.
        _POSTGRESQL_INSERT,
        {
            "dataset": dataset,
            "recorded_at": act.now,
            "source": source,
            "pseudonym": [item.pseudonym for item in batch],
            "purpose": [item.purpose for item in batch],
            "given_on": [item.given_on for item in batch],
            "valid_from": [item.first_day for item in batch],
            "valid_until": [item.last_day for item in batch],
            "form_version": [item.form_version for item in batch],
            "recorded_by": [item.recorded_by for item in batch],
        },
    )
    return result.rowcount


def _store_in_sqlite(act: Act, dataset: str, batch: list[Consent], source: int) -> int:
    statement = sqlite.insert(ConsentRow).on_conflict_do_nothing()
    rows = [
        {
            "dataset": dataset,
            "pseudonym": item.pseudonym,
            "purpose": item.purpose,
            "given_on": item.given_on,
            "valid_from": item.first_day,
            "valid_until": item.last_day,
            "form_version": item.form_version,
            "recorded_by": item.recorded_by,
            "recorded_at": act.now,
            "source": source,
        }
        for item in batch
    ]
    # On the connection, because the session would turn the rows into objects first.
    return act.session.connection().execute(statement, rows).rowcount
