"""What a FHIR consent means here: which purposes of the Data Use Ontology it permits, when, and what it refuses.

Rules kept here:

1. When in doubt, no. What cannot be judged (a permission for certain actors, data or labels, an unknown code, an
   extension that may change the meaning) refuses the resource with a sentence; it is never read as more permission.
2. Nested rules are exceptions to the rule they stand in. Side by side, "deny" wins over "permit". A denied purpose
   takes away every permission that includes it or lies within it.
3. A period holds within the period of the rule around it. A partial date begins with its first day and ends with its
   last; an instant counts for its day in UTC.
4. Only ``active`` resources permit. ``rejected``, ``inactive`` and ``entered-in-error`` take back what the person gave
   until the resource's date; ``draft`` and ``proposed`` say nothing.
5. A denial that is limited in time or scope is read as a full one, for the same reason as rule 1; one whose period is
   over is not read at all.

Reference: HL7 FHIR R4 (4.0.1), Consent, "Provisions": the rules are nested exceptions.
"""

import re
from calendar import monthrange
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import lru_cache

from fedseal_governance.consent.fhir_models import Coding, Concept, ConsentResource, Period, Provision
from fedseal_governance.consent.model import Consent, Denial, Flaw, first_flaw, is_related
from fedseal_governance.consent.rows import Findings
from fedseal_governance.purpose_codes import NO_PURPOSE, meaning

MAX_DEPTH = 16
"""Rules within rules; real consents have two levels."""

_PARTIAL = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")
_PATIENT = re.compile(r"(?:https?://\S{1,500}/)?Patient/([A-Za-z0-9.-]{1,64})(?:/_history/[A-Za-z0-9.-]{1,64})?")
_TAKEN_BACK = frozenset({"rejected", "inactive", "entered-in-error"})
_USE = "use"
_BASE_RULES = {"OPTIN": "permit", "OPTOUT": "deny"}


class Unclear(Exception):
    """A resource cannot be read as consent or refusal.

    Attributes:
        flaw: where, what, and the remedy.
    """

    def __init__(self, field: str, fault: str, remedy: str, *, value: str = "") -> None:
        super().__init__(fault)
        self.flaw = Flaw(column=field, value=value, fault=fault, remedy=remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """What reading depends on besides the resource.

    Attributes:
        today: the present day, UTC.
        recorded_by: who imports.
        purpose_codes: the policy's own table.
        form_version: the form, where a resource names none.
        identifier_system: whose patient identifier is the pseudonym; None for the id in the patient's reference.
    """

    today: date
    recorded_by: str
    purpose_codes: Mapping[str, str]
    form_version: str | None
    identifier_system: str | None


@dataclass(frozen=True, slots=True)
class _Grant:
    purpose: str
    first: date
    last: date


_Denied = frozenset[str | None]
"""Purposes that a rule denies; None among them: every purpose."""


def translate(resource: ConsentResource, how: Translation) -> Findings:
    """Read a resource.

    Raises:
        Unclear: it cannot be judged.
    """
    _require_plain("", resource.modifier_extension, "modifierExtension")
    _require_plain("", resource.implicit_rules, "implicitRules")
    for policy in resource.policy:
        _require_plain("policy.", policy.modifier_extension, "modifierExtension")
    if resource.status in ("draft", "proposed"):
        return Findings()
    whose = _pseudonym(resource, how)
    given_on = _given_on(resource, how)
    if resource.status in _TAKEN_BACK:
        return Findings(denials=_taken_back(resource, how, whose, given_on))
    if resource.provision is None:
        raise Unclear("provision", "the consent permits nothing and refuses nothing", "export its provisions, too")
    grants, denied = _judge(_with_base(resource), _Reading(how=how, given_on=given_on))
    form = _form_version(resource, how) if grants else ""
    consents = tuple(_consent(grant, whose, given_on, form, how) for grant in grants)
    return Findings(consents=consents, denials=_denials(denied, consents, whose, given_on))


@dataclass(frozen=True, slots=True)
class _Reading:
    how: Translation
    given_on: date
    path: str = "provision"
    first: date = date.min
    last: date = date.max
    depth: int = 0


def _with_base(resource: ConsentResource) -> Provision:
    """The outermost rule with its direction, which R4 leaves to the policy rule."""
    rule = resource.provision
    if rule is None or rule.type is not None:
        return rule or Provision()
    codings = resource.policy_rule.coding if resource.policy_rule is not None else ()
    base = {_BASE_RULES[item.code] for item in codings if item.code in _BASE_RULES}
    if len(base) == 1:
        return rule.model_copy(update={"type": base.pop()})
    if rule.purpose or rule.code or not rule.provision:
        remedy = "set `provision.type`, or a `policyRule` of OPTIN or OPTOUT"
        raise Unclear("provision.type", "it says neither permit nor deny", remedy)
    return rule.model_copy(update={"type": "deny"})


def _judge(rule: Provision, at: _Reading) -> tuple[tuple[_Grant, ...], _Denied]:
    """What a rule with its exceptions permits and denies."""
    if at.depth > MAX_DEPTH:
        raise Unclear(at.path, f"rules are nested more than {MAX_DEPTH} deep", "simplify the consent")
    _require_plain(f"{at.path}.", rule.modifier_extension, "modifierExtension")
    here = _within(rule.period, at)
    grants: tuple[_Grant, ...] = ()
    denied: _Denied = frozenset()
    if rule.type is None:
        raise Unclear(f"{at.path}.type", "a nested rule says neither permit nor deny", "export its `type`")
    if rule.type == "permit":
        grants = _granted(rule, here)
    elif here.last >= here.how.today:
        denied = _denied(rule, here)
    inner = [
        _judge(item, replace(here, path=f"{at.path}.provision[{place}]", depth=at.depth + 1))
        for place, item in enumerate(rule.provision)
    ]
    permitted = [inner[place] for place, item in enumerate(rule.provision) if item.type == "permit"]
    refused = [inner[place] for place, item in enumerate(rule.provision) if item.type == "deny"]
    for more, less in permitted:
        grants = (*grants, *more)
        denied |= less
    for _, less in refused:
        grants = tuple(grant for grant in grants if not _is_denied(grant.purpose, less))
        denied |= less
    for more, _ in refused:
        # Exceptions to a refusal permit again.
        grants = (*grants, *more)
    return tuple(dict.fromkeys(grants)), denied


def _granted(rule: Provision, at: _Reading) -> tuple[_Grant, ...]:
    for name, limit in (
        ("actor", rule.actor),
        ("data", rule.data),
        ("dataPeriod", rule.data_period),
        ("securityLabel", rule.security_label),
        ("class", rule.class_),
    ):
        if limit:
            raise Unclear(
                f"{at.path}.{name}",
                "the permission is limited in a way that cannot be judged here",
                "record this consent by hand after looking at the form",
            )
    purposes = _purposes(rule, at)
    if not purposes and not rule.provision:
        raise Unclear(f"{at.path}.purpose", "the permission does not say for which purpose", "export its `purpose`")
    if rule.action and not any(item.code == _USE for concept in rule.action for item in concept.coding):
        return ()
    first = max(at.first, at.given_on)
    return tuple(_Grant(purpose, first, at.last) for purpose in purposes if purpose != NO_PURPOSE)


def _denied(rule: Provision, at: _Reading) -> _Denied:
    purposes = _purposes(rule, at)
    if not purposes:
        return frozenset({None})
    return frozenset(purpose for purpose in purposes if purpose != NO_PURPOSE)


def _purposes(rule: Provision, at: _Reading) -> tuple[str, ...]:
    found = [_meaning((coding,), f"{at.path}.purpose[{place}]", at.how) for place, coding in enumerate(rule.purpose)]
    found += [_meaning(concept.coding, f"{at.path}.code[{place}]", at.how) for place, concept in enumerate(rule.code)]
    return tuple(dict.fromkeys(found))


def _meaning(codings: Iterable[Coding], field: str, how: Translation) -> str:
    """The purpose of a concept: of the first of its codings that is known."""
    first = ""
    for coding in codings:
        first = first or f"{coding.system or ''}|{coding.code or ''}".removeprefix("|")
        purpose = meaning(coding.system or "", coding.code, how.purpose_codes) if coding.code else None
        if purpose is not None:
            return purpose
    if not first:
        raise Unclear(field, "it holds no code", "export its `coding`")
    raise Unclear(
        field,
        "neither the built-in table nor the policy says what this code stands for",
        "have it added to `consent.purpose_codes` of the policy",
        value=first,
    )


def _is_denied(purpose: str, denied: _Denied) -> bool:
    return any(is_related(purpose, item) for item in denied)


def _denials(denied: _Denied, consents: tuple[Consent, ...], whose: str, given_on: date) -> tuple[Denial, ...]:
    """What is refused for good: what the same resource does not permit by an exception."""
    permitted = {consent.purpose for consent in consents}
    if None in denied:
        # With exceptions, everything older ends, and the exceptions begin on the resource's own day.
        until = date.fromordinal(max(1, given_on.toordinal() - 1)) if permitted else given_on
        return (Denial(pseudonym=whose, purpose=None, until=until),)
    return tuple(
        Denial(pseudonym=whose, purpose=purpose, until=given_on)
        for purpose in sorted(item for item in denied if item is not None)
        if not any(is_related(other, purpose) for other in permitted)
    )


def _taken_back(resource: ConsentResource, how: Translation, whose: str, given_on: date) -> tuple[Denial, ...]:
    """What a resource that is no longer active had permitted; everything, where that cannot be read."""
    try:
        if resource.provision is None:
            raise Unclear("provision", "", "")
        grants, _ = _judge(_with_base(resource), _Reading(how=how, given_on=given_on))
    except Unclear:
        return (Denial(pseudonym=whose, purpose=None, until=given_on),)
    purposes = dict.fromkeys(grant.purpose for grant in grants)
    return tuple(Denial(pseudonym=whose, purpose=purpose, until=given_on) for purpose in purposes)


def _consent(grant: _Grant, whose: str, given_on: date, form: str, how: Translation) -> Consent:
    consent = Consent(
        pseudonym=whose,
        purpose=grant.purpose,
        given_on=given_on,
        valid_from=grant.first,
        valid_until=None if grant.last == date.max else grant.last,
        form_version=form,
        recorded_by=how.recorded_by,
    )
    flaw = first_flaw(consent, today=how.today)
    if flaw is not None:
        where = {"pseudonym": "patient", "given_on": "dateTime", "valid_until": "provision.period"}
        field = where.get(flaw.column, flaw.column)
        raise Unclear(field, flaw.fault, flaw.remedy, value=flaw.value)
    return consent


def _pseudonym(resource: ConsentResource, how: Translation) -> str:
    patient, remedy = resource.patient, "export the pseudonym there, never a name"
    if patient is None:
        raise Unclear("patient", "it does not say whose consent it is", remedy)
    if how.identifier_system is not None:
        identifier = patient.identifier
        if identifier is None or identifier.system != how.identifier_system or not identifier.value:
            raise Unclear("patient.identifier", f"there is none of the system {how.identifier_system}", remedy)
        return _plain_pseudonym(identifier.value, "patient.identifier.value")
    if patient.reference is not None:
        found = _PATIENT.fullmatch(patient.reference)
        if found is None:
            raise Unclear("patient.reference", "it is not of the form Patient/PSEUDONYM", remedy)
        return found[1]
    if patient.identifier is not None and patient.identifier.value:
        return _plain_pseudonym(patient.identifier.value, "patient.identifier.value")
    raise Unclear("patient", "it holds neither a reference nor an identifier", remedy)


def _plain_pseudonym(value: str, field: str) -> str:
    if not value.isprintable() or " " in value or len(value) > 128:
        raise Unclear(field, "it is not 1 to 128 printable characters without spaces", "export a pseudonym, not a name")
    return value


def _given_on(resource: ConsentResource, how: Translation) -> date:
    if resource.date_time is not None:
        return _day(resource.date_time, "dateTime", end=False)
    start = resource.provision.period.start if resource.provision and resource.provision.period else None
    if start is not None:
        return min(_day(start, "provision.period.start", end=False), how.today)
    if resource.status in _TAKEN_BACK:
        return how.today
    raise Unclear("dateTime", "it does not say when the consent was given", "export `dateTime`")


def _form_version(resource: ConsentResource, how: Translation) -> str:
    named = [policy.uri for policy in resource.policy if policy.uri]
    rule: Concept | None = resource.policy_rule
    named += [item.code for item in rule.coding if item.code] if rule is not None else []
    for text in named:
        if text.isprintable() and " " not in text and len(text) <= 200:
            return text
    if how.form_version is None:
        remedy = "export `policy.uri`, or name the form with --form-version"
        raise Unclear("policy.uri", "it does not say which form was signed", remedy)
    return how.form_version


def _within(period: Period | None, at: _Reading) -> _Reading:
    if period is None:
        return at
    first = at.first if period.start is None else _day(period.start, f"{at.path}.period.start", end=False)
    last = at.last if period.end is None else _day(period.end, f"{at.path}.period.end", end=True)
    return replace(at, first=max(at.first, first), last=min(at.last, last))


def _day(text: str, field: str, *, end: bool) -> date:
    """The day of a FHIR dateTime: the first one it can mean, or the last if it is an ``end``."""
    try:
        return _parsed_day(text, end)
    except (ValueError, OverflowError):
        remedy = "write it as 2026-12-31, or with time and zone"
        raise Unclear(field, "it is no FHIR date", remedy, value=text) from None


@lru_cache(maxsize=10_000)
def _parsed_day(text: str, end: bool) -> date:
    partial = _PARTIAL.fullmatch(text)
    if partial is None:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("no time zone")
        return moment.astimezone(UTC).date()
    year, month, day = partial.groups()
    if day is not None:
        return date(int(year), int(month), int(day))
    if month is not None:
        return date(int(year), int(month), monthrange(int(year), int(month))[1] if end else 1)
    return date(int(year), 12, 31) if end else date(int(year), 1, 1)


def _require_plain(path: str, value: object, name: str) -> None:
    if value:
        raise Unclear(
            f"{path}{name}",
            "it may change the meaning of the consent in a way that is not known here",
            "record this consent by hand after looking at the form",
        )
