"""Purposes in the words of the GA4GH Data Use Ontology, and which consent covers which request.

Rules kept here:

1. Only the ontology's *data use permission* terms are purposes; its modifiers (not-for-profit use, ethics
   approval and so on) are duties that a policy's text carries, and are refused as a purpose.
2. A consent covers a request when the request's term lies at or below the consent's term in the table
   below. What is not known is not covered.
3. Disease-specific research names its disease: ``DUO:0000007/MONDO:0005267``. It is covered by the same
   disease code, or by a broader purpose; one disease code never covers another, because the disease
   ontology is not consulted (left out here).

Reference: GA4GH Data Use Ontology (github.com/EBISPOT/DUO, CC BY 4.0). ``broader`` follows from the terms'
definitions: general research "includes but is not limited to: health/medical/biomedical purposes, fundamental
biology research, the study of population origins or ancestry"; health research "does not include the study of
population origins or ancestry".
"""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from fedseal_governance.documents import fault, suggestion
from fedseal_governance.errors import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A data use permission.

    Attributes:
        code: identifier in the ontology.
        shorthand: the abbreviation used in data access forms.
        label: the ontology's label, in plain English.
        broader: code of the term that includes this one, if any.
    """

    code: str
    shorthand: str
    label: str
    broader: str | None


NO_RESTRICTION = "DUO:0000004"
GENERAL_RESEARCH = "DUO:0000042"
HEALTH_RESEARCH = "DUO:0000006"
DISEASE_RESEARCH = "DUO:0000007"
ANCESTRY_RESEARCH = "DUO:0000011"

TERMS = {
    term.code: term
    for term in (
        Term(code=NO_RESTRICTION, shorthand="NRES", label="no restriction", broader=None),
        Term(code=GENERAL_RESEARCH, shorthand="GRU", label="general research use", broader=NO_RESTRICTION),
        Term(
            code=HEALTH_RESEARCH,
            shorthand="HMB",
            label="health or medical or biomedical research",
            broader=GENERAL_RESEARCH,
        ),
        Term(code=DISEASE_RESEARCH, shorthand="DS", label="disease specific research", broader=HEALTH_RESEARCH),
        Term(
            code=ANCESTRY_RESEARCH,
            shorthand="POA",
            label="population origins or ancestry research only",
            broader=GENERAL_RESEARCH,
        ),
    )
}
"""Every purpose this version knows, by code."""

_DISEASE = re.compile(r"DUO:0000007/(?P<disease>MONDO:[0-9]{7})")


def is_purpose(purpose: str) -> bool:
    """Whether ``purpose`` can be asked for or consented to."""
    if _DISEASE.fullmatch(purpose):
        return True
    return purpose in TERMS and purpose != DISEASE_RESEARCH


def label_of(purpose: str) -> str:
    """The plain label of a purpose, with the disease code where it has one.

    Raises:
        KeyError: ``purpose`` is none; check with `is_purpose` first.
    """
    found = _DISEASE.fullmatch(purpose)
    if found:
        return f"{TERMS[DISEASE_RESEARCH].label} ({found['disease']})"
    return TERMS[purpose].label


def covering(asked: str) -> frozenset[str]:
    """Every purpose whose consent covers a request for ``asked``; empty when ``asked`` is not known."""
    if not is_purpose(asked):
        return frozenset()
    found = {asked}
    code: str | None = TERMS[asked.partition("/")[0]].broader
    while code is not None:
        found.add(code)
        code = TERMS[code].broader
    return frozenset(found)


def permits(consented: str, asked: str) -> bool:
    """Whether a consent for ``consented`` covers use for ``asked``; no when either is unknown."""
    return consented in covering(asked)


def problem_with(purpose: str) -> tuple[str, str] | None:
    """What is wrong with a purpose that somebody wrote, and the remedy; None when it is fine."""
    if is_purpose(purpose):
        return None
    if purpose == DISEASE_RESEARCH:
        return (
            f"the purpose {purpose} ({TERMS[purpose].label}) does not say which disease",
            f"add it, as in {purpose}/MONDO:0005267",
        )
    by_word = {term.label: term.code for term in TERMS.values()}
    by_word.update({term.shorthand: term.code for term in TERMS.values()})
    # A wrong number is no misspelling: only words are compared.
    near = None if purpose.startswith("DUO:") else suggestion(purpose, list(by_word))
    remedy = (
        f"did you mean {by_word[near]} ({TERMS[by_word[near]].label})?"
        if near
        else "choose one of " + ", ".join(f"{term.code} ({term.label})" for term in TERMS.values())
    )
    return f'"{shown(purpose)}" is not a purpose of the Data Use Ontology', remedy


def _checked(purpose: str) -> str:
    problem = problem_with(purpose)
    if problem is not None:
        raise fault(*problem)
    return purpose


Purpose = Annotated[str, AfterValidator(_checked)]
"""A purpose in a document: ``DUO:0000006``, or ``DUO:0000007/MONDO:0005267`` for one disease."""
