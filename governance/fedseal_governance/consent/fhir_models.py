"""The part of an HL7 FHIR R4 ``Consent`` resource that says who permits what, for which purpose, and when.

Rules kept here:

1. Every element that R4 defines is known by name; one that is not is refused, because it could mean "but not".
   ``modifierExtension`` and ``implicitRules`` change the meaning of what stands beside them and are refused by
   `fedseal_governance.consent.fhir_meaning`.
2. Elements that may hold names (text, display, performer, contained patients, attachments) are known and never looked
   at: they are `Unread`, which drops their content.

Reference: HL7 FHIR R4 (4.0.1), resource Consent.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _drop(_value: object) -> None:
    return None


Unread = Annotated[None, BeforeValidator(_drop)]
"""An element whose content is dropped while it is read."""

Word = Annotated[str, Field(min_length=1, max_length=1_000)]


class _Element(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    id: Unread = None
    extension: Unread = None


class Coding(_Element):
    """A code of a code system."""

    system: Word | None = None
    version: Unread = None
    code: Word | None = None
    display: Unread = None
    user_selected: Annotated[Unread, Field(alias="userSelected")] = None


class Concept(_Element):
    """One concept, perhaps in several code systems."""

    coding: Annotated[tuple[Coding, ...], Field(max_length=100)] = ()
    text: Unread = None


class Period(_Element):
    """From the beginning of ``start`` to the end of ``end``."""

    start: Word | None = None
    end: Word | None = None


class Identifier(_Element):
    """An identifier given by some system."""

    use: Unread = None
    type: Unread = None
    system: Word | None = None
    value: Word | None = None
    period: Unread = None
    assigner: Unread = None


class Reference(_Element):
    """Whose consent it is."""

    reference: Word | None = None
    type: Unread = None
    identifier: Identifier | None = None
    display: Unread = None


class Policy(_Element):
    """The form or rule that was agreed to."""

    modifier_extension: Annotated[Any, Field(alias="modifierExtension")] = None
    authority: Unread = None
    uri: Word | None = None


class Provision(_Element):
    """A rule: permit or deny, for which purposes, when; nested rules are its exceptions."""

    modifier_extension: Annotated[Any, Field(alias="modifierExtension")] = None
    type: Literal["permit", "deny"] | None = None
    period: Period | None = None
    actor: Any = None
    action: Annotated[tuple[Concept, ...], Field(max_length=100)] = ()
    security_label: Annotated[Any, Field(alias="securityLabel")] = None
    purpose: Annotated[tuple[Coding, ...], Field(max_length=100)] = ()
    class_: Annotated[Any, Field(alias="class")] = None
    code: Annotated[tuple[Concept, ...], Field(max_length=100)] = ()
    data_period: Annotated[Any, Field(alias="dataPeriod")] = None
    data: Any = None
    provision: Annotated[tuple["Provision", ...], Field(max_length=1_000)] = ()


class ConsentResource(_Element):
    """A consent as a hospital's system exports it."""

    resource_type: Annotated[Literal["Consent"], Field(alias="resourceType")]
    meta: Unread = None
    implicit_rules: Annotated[Any, Field(alias="implicitRules")] = None
    language: Unread = None
    text: Unread = None
    contained: Unread = None
    modifier_extension: Annotated[Any, Field(alias="modifierExtension")] = None
    identifier: Unread = None
    status: Literal["draft", "proposed", "active", "rejected", "inactive", "entered-in-error"]
    scope: Unread = None
    category: Unread = None
    patient: Reference | None = None
    date_time: Annotated[Word | None, Field(alias="dateTime")] = None
    performer: Unread = None
    organization: Unread = None
    source_attachment: Annotated[Unread, Field(alias="sourceAttachment")] = None
    source_reference: Annotated[Unread, Field(alias="sourceReference")] = None
    policy: Annotated[tuple[Policy, ...], Field(max_length=100)] = ()
    policy_rule: Annotated[Concept | None, Field(alias="policyRule")] = None
    verification: Unread = None
    provision: Provision | None = None
