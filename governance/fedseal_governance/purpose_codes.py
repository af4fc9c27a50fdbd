"""What the purpose codes of other systems mean in words of the Data Use Ontology.

Rules kept here:

1. A code stands for a purpose, for no research purpose at all (treatment, payment), or is unknown; an unknown code is
   refused where it is met and never guessed.
2. A policy may add codes and overrule the built-in table (``consent.purpose_codes``); the policy is what officers sign.
3. The built-in table maps a research code only where the ontology has a term of the same breadth. Clinical trials and
   disease research say too little (which trial, which disease), so a policy has to say what they stand for.

Reference: HL7 v3 ActReason, PurposeOfUse (terminology.hl7.org/CodeSystem/v3-ActReason).
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import StringConstraints

from fedseal_governance.purposes import ANCESTRY_RESEARCH, HEALTH_RESEARCH, is_purpose

ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
ACT_REASON_OLD = "http://hl7.org/fhir/v3/ActReason"
DUO_SYSTEMS = frozenset({"http://purl.obolibrary.org/obo/duo.owl", "http://purl.obolibrary.org/obo/DUO"})

NO_PURPOSE = "none"
"""In place of a purpose: the code permits no use that the Data Use Ontology speaks of."""

ForeignCode = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")]
"""A code of another system: visible ASCII characters without spaces."""

_NO_RESEARCH = [
    "TREAT",
    "CAREMGT",
    "ETREAT",
    "BTG",
    "COVERAGE",
    "DISASTER",
    "DONAT",
    "FRAUD",
    "GOV",
    "HACCRED",
    "HCOMPL",
    "HDECD",
    "HDIRECT",
    "HLEGAL",
    "HMARKT",
    "HOPERAT",
    "HOUTCOMS",
    "HPAYMT",
    "HPRGRP",
    "HQUALIMP",
    "HSYSADMIN",
    "MEMADMIN",
    "PATADMIN",
    "PATRQT",
    "FAMRQT",
    "PATSFTY",
    "PERFMSR",
    "POPHLTH",
    "PUBHLTH",
    "RECORDMGT",
    "THREAT",
    "TRAIN",
]

BUILT_IN: Mapping[str, str] = {
    **dict.fromkeys(_NO_RESEARCH, NO_PURPOSE),
    "HRESCH": HEALTH_RESEARCH,
    "BIORCH": HEALTH_RESEARCH,
    "POARCH": ANCESTRY_RESEARCH,
}
"""PurposeOfUse codes with what they stand for."""

_ACT_REASON = ("", ACT_REASON, ACT_REASON_OLD)


def meaning(system: str, code: str, extra: Mapping[str, str]) -> str | None:
    """What a code stands for: a purpose, `NO_PURPOSE`, or None when nobody has said.

    Args:
        system: URI of the code system, empty if the source names none.
        code: the code.
        extra: the policy's own table, which overrules the built-in one.
    """
    if f"{system}|{code}" in extra:
        return extra[f"{system}|{code}"]
    if system in DUO_SYSTEMS:
        purpose = code.replace("DUO_", "DUO:", 1)
        return purpose if is_purpose(purpose) else None
    if system in _ACT_REASON:
        return extra.get(code, BUILT_IN.get(code))
    return None


def effective(key: str, extra: Mapping[str, str]) -> str | None:
    """As `meaning`, for a key of a policy's table: ``code`` or ``system|code``."""
    system, bar, code = key.rpartition("|")
    return meaning(system, code, extra) if bar else meaning("", key, extra)
