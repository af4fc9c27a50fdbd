"""Generate the demonstration's consents: invented, deterministic, and marked as such in every row.

    python make_consents.py

writes ``consents/<hospital>.csv`` (one row per consent; import these), for one hospital the same consents once more as
HL7 FHIR R4 resources (``consents/switzerland.ndjson``, with an invented name in each), and ``consents/withdrawn.csv``
(patients who withdraw afterwards; the demonstration records these withdrawals one by one).

No patient of the collection was ever asked; the collection says nothing about consent. Each pseudonym's fate
follows from the SHA-256 of the pseudonym alone, so that the files are the same wherever they are generated:

    of 100 patients about 3 never consented, 2 consented to ancestry research only, 2 have a consent that has
    run out, 8 consented to general research (which covers health research), the others to health research; 2
    of those withdraw.
"""

import csv
import hashlib
import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

FOLDER = Path(__file__).parent
HOSPITALS = ("cleveland", "hungary", "va-long-beach", "switzerland")
COLUMNS = ("pseudonym", "purpose", "given_on", "valid_until", "form_version", "recorded_by")
FHIR_HOSPITAL = "switzerland"
HEALTH_RESEARCH = "DUO:0000006"
GENERAL_RESEARCH = "DUO:0000042"
ANCESTRY_RESEARCH = "DUO:0000011"
FORM = "generated-for-demo-1"
RECORDER = "consent-generator"
FIRST_DAY = date(2025, 1, 7)
LONG = timedelta(days=3650)  # still in force whenever the demonstration runs
SHORT = timedelta(days=90)  # ran out in 2025


def draw(pseudonym: str) -> int:
    """A number from 0 to 99 that depends on the pseudonym alone."""
    return int.from_bytes(hashlib.sha256(f"fedseal demo consent 1 {pseudonym}".encode()).digest()[:8], "big") % 100


def given_on(pseudonym: str) -> date:
    """A day in the first half of 2025."""
    return FIRST_DAY + timedelta(days=int(pseudonym[-4:]) % 170)


def consent(pseudonym: str) -> tuple[str, date, date] | None:
    """Purpose, first and last day of a patient's consent; None when there is none."""
    number, start = draw(pseudonym), given_on(pseudonym)
    if number < 3:
        return None
    if number < 5:
        return ANCESTRY_RESEARCH, start, start + LONG
    if number < 7:
        return HEALTH_RESEARCH, start, start + SHORT
    if number < 15:
        return GENERAL_RESEARCH, start, start + LONG
    return HEALTH_RESEARCH, start, start + LONG


def withdraws(pseudonym: str) -> bool:
    """Whether this patient withdraws a consent to health research afterwards."""
    return draw(pseudonym) >= 98


def pseudonyms(hospital: str) -> Iterator[str]:
    """The pseudonyms in a hospital's table, in order."""
    with (FOLDER / f"{hospital}.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            yield row["pseudonym"]


def as_fhir(pseudonym: str, purpose: str, start: date, end: date) -> dict[str, object]:
    """A consent as an HL7 FHIR R4 resource; general research has no code of HL7's own and stays the ontology's."""
    act_reason = {HEALTH_RESEARCH: "HRESCH", ANCESTRY_RESEARCH: "POARCH"}
    coding = (
        {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": act_reason[purpose]}
        if purpose in act_reason
        else {"system": "http://purl.obolibrary.org/obo/duo.owl", "code": purpose.replace(":", "_")}
    )
    return {
        "resourceType": "Consent",
        "id": f"consent-{pseudonym}",
        "status": "active",
        "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "research"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": {"reference": f"Patient/{pseudonym}", "display": f"Invented Name {int(pseudonym[-4:])}"},
        "dateTime": start.isoformat(),
        "policy": [{"uri": FORM}],
        "provision": {"type": "permit", "period": {"end": end.isoformat()}, "purpose": [coding]},
    }


def write(folder: Path) -> None:
    """Write all files."""
    folder.mkdir(exist_ok=True)
    withdrawn = []
    for hospital in HOSPITALS:
        with (folder / f"{hospital}.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(COLUMNS)
            for pseudonym in pseudonyms(hospital):
                given = consent(pseudonym)
                if given is None:
                    continue
                purpose, start, end = given
                writer.writerow((pseudonym, purpose, start, end, FORM, RECORDER))
                if withdraws(pseudonym):
                    withdrawn.append((hospital, pseudonym))
    with (folder / f"{FHIR_HOSPITAL}.ndjson").open("w", encoding="utf-8", newline="") as stream:
        for pseudonym in pseudonyms(FHIR_HOSPITAL):
            given = consent(pseudonym)
            if given is not None:
                stream.write(json.dumps(as_fhir(pseudonym, *given), separators=(",", ":")) + "\n")
    with (folder / "withdrawn.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("hospital", "pseudonym"))
        writer.writerows(withdrawn)


if __name__ == "__main__":
    write(FOLDER / "consents")
