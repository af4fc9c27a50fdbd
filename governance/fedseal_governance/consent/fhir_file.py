"""Consents in files of HL7 FHIR R4: a ``Bundle`` as JSON, or one resource a line (NDJSON).

Rules kept here:

1. Bounded: a line of NDJSON has at most `MAX_LINE` bytes, a Bundle `MAX_BUNDLE`; how deep JSON may nest is limited by
   the parser (pydantic's). Millions of consents come as NDJSON and are read line by line.
2. Resources of other types are counted and not looked at: patients have names.
3. A message never quotes an element that could hold a name.
"""

from collections.abc import Iterator
from typing import BinaryIO

from pydantic import ValidationError
from pydantic_core import from_json

from fedseal_governance.consent.fhir_meaning import Translation, Unclear, translate
from fedseal_governance.consent.fhir_models import ConsentResource
from fedseal_governance.consent.rows import Findings, HashedFile, Problems

MAX_LINE = 1 << 18
"""Bytes of one resource in NDJSON; a consent without attachments has some thousand."""

MAX_BUNDLE = 32 << 20
"""Bytes of a Bundle, which is read whole: about 20 000 consents."""

_BUNDLES = frozenset({"collection", "searchset", "transaction", "batch"})
_QUOTED = frozenset({"status", "type", "resourceType", "system", "code"})
"""Last names of elements whose wrong value a message may quote."""


def looks_like_json(stream: BinaryIO) -> bool:
    """Whether the file begins like JSON; the stream is put back to its beginning."""
    head = stream.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    stream.seek(0)
    return head.startswith((b"{", b"["))


class FhirReader:
    """Turns resources into findings; collects problems instead of stopping at the first."""

    def __init__(self, file: HashedFile, problems: Problems, how: Translation) -> None:
        self._file = file
        self._problems = problems
        self._how = how
        self.rows = 0

    def findings(self) -> Iterator[Findings]:
        """What each good Consent says.

        Raises:
            DocumentError: the file is no FHIR file.
        """
        first = self._file.line(MAX_LINE + 1)
        if _is_a_line(first):
            yield from self._lines(first)
        else:
            yield from self._bundle(first)
        if self.rows == 0:
            raise self._problems.stop(None, "the file holds no Consent resource", "name the right file")

    def _lines(self, line: bytes) -> Iterator[Findings]:
        number = 0
        while line:
            number += 1
            if len(line) > MAX_LINE:
                raise self._problems.stop(number, f"the line has more than {MAX_LINE} bytes", "export no attachments")
            if line.strip():
                parsed = _parsed(line)
                if parsed is None:
                    fault = "the line is not JSON, or is nested too deeply"
                    self._problems.report(number, "", fault, "export one resource a line")
                else:
                    yield from self._resource(parsed, number, "")
            line = self._file.line(MAX_LINE + 1)

    def _bundle(self, beginning: bytes) -> Iterator[Findings]:
        rest = self._file.rest(MAX_BUNDLE + 1 - len(beginning))
        if len(beginning) + len(rest) > MAX_BUNDLE:
            remedy = "export the consents as NDJSON, one resource a line"
            raise self._problems.stop(None, f"the Bundle has more than {MAX_BUNDLE} bytes", remedy)
        whole = _parsed(beginning + rest)
        if whole is None:
            fault = "the file is not JSON, or is nested too deeply"
            raise self._problems.stop(None, fault, "export a FHIR Bundle or NDJSON")
        if isinstance(whole, dict) and whole.get("resourceType") == "Consent":
            yield from self._resource(whole, None, "")
            return
        if not isinstance(whole, dict) or whole.get("resourceType") != "Bundle" or whole.get("type") not in _BUNDLES:
            fault = "the file is neither a Consent nor a Bundle of the type " + ", ".join(sorted(_BUNDLES))
            raise self._problems.stop(None, fault, "export a FHIR R4 Bundle or NDJSON")
        entries = whole.get("entry", [])
        if not isinstance(entries, list):
            raise self._problems.stop(None, "the Bundle's `entry` is no list", "export a FHIR R4 Bundle")
        for place, entry in enumerate(entries):
            yield from self._entry(entry, place)

    def _entry(self, entry: object, place: int) -> Iterator[Findings]:
        where = f"entry[{place}]."
        request = entry.get("request") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or "resource" not in entry:
            self._problems.report(None, where + "resource", "the entry holds no resource", "export whole resources")
        elif request is not None and not (isinstance(request, dict) and request.get("method") in ("PUT", "POST")):
            fault = "the entry is no resource that is to be stored"
            self._problems.report(None, where + "request.method", fault, "export the consents as they are now")
        else:
            yield from self._resource(entry["resource"], None, where + "resource.")

    def _resource(self, parsed: object, line: int | None, where: str) -> Iterator[Findings]:
        if isinstance(parsed, dict) and isinstance(parsed.get("resourceType"), str):
            if parsed["resourceType"] == "Bundle":
                self._problems.report(
                    line, where, "a Bundle stands inside", "export one Bundle, or one resource a line"
                )
            if parsed["resourceType"] != "Consent":
                return
        self.rows += 1
        try:
            yield translate(ConsentResource.model_validate(parsed), self._how)
        except Unclear as unclear:
            self._problems.report_flaw(line, unclear.flaw, field=where + unclear.flaw.column)
        except ValidationError as error:
            self._report(error, line, where)

    def _report(self, error: ValidationError, line: int | None, where: str) -> None:
        """The first thing wrong with a resource's form; its others often follow from it."""
        first = error.errors(include_url=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        given = first["input"]
        value = given if first["loc"] and first["loc"][-1] in _QUOTED and isinstance(given, str) else None
        if first["type"] == "extra_forbidden":
            fault, remedy = f"`{where}{path}` is no element of a FHIR R4 Consent", "export FHIR R4"
        elif first["type"] == "literal_error":
            words = str(first.get("ctx", {}).get("expected", "")).replace("'", "")
            fault, remedy = f"`{where}{path}` is none of {words}", "export FHIR R4"
        elif first["type"] == "missing":
            fault, remedy = f"`{where}{path}` is missing", "export it"
        else:
            fault, remedy = f"`{where}{path}` has the wrong form ({first['type'].replace('_', ' ')})", "export FHIR R4"
        self._problems.report(line, where + path, fault, remedy, value=value)


def _is_a_line(first: bytes) -> bool:
    """Whether the first line is a resource of its own; a Bundle is one document, on one line or on many."""
    text = first.removeprefix(b"\xef\xbb\xbf").strip()
    if len(first) > MAX_LINE or not (text.startswith(b"{") and text.endswith(b"}")):
        return False
    resource = _parsed(text)
    return not isinstance(resource, dict) or resource.get("resourceType") != "Bundle"


def _parsed(data: bytes) -> object | None:
    """A JSON value, or None if it is none."""
    try:
        value: object = from_json(data.removeprefix(b"\xef\xbb\xbf"), cache_strings="keys", allow_inf_nan=False)
    except (ValueError, RecursionError):
        return None
    return value
