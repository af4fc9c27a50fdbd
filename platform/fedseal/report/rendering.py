"""From a job's detail to the bytes of its page.

Rules kept here:

1. Everything that comes from outside is escaped, shortened, and shown without control or direction-changing
   characters: no name and no reason can add markup or read differently from what it is.
2. Same arguments, same bytes: no clock, no randomness, no locale.
"""

from datetime import datetime
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fedseal.report.checks import FederationView, check_evidence
from fedseal.report.evidence import LogEvidence, policy_stories
from fedseal.report.page import PageInputs, make_page
from fedseal.report.sites import SiteMetrics
from fedseal.report.sources import read_sources
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_governance.audit import AuditError, Verified

LONGEST_TEXT = 4_000
"""Characters of one text; job descriptions have at most 2,000."""


def render_report(
    detail: pb.JobDetail,
    *,
    generated_at: datetime,
    site_metrics: SiteMetrics | None = None,
    federation: FederationView | None = None,
    log: LogEvidence | Verified | AuditError | None = None,
) -> bytes:
    """The report of a job as one HTML file in UTF-8.

    Args:
        detail: what the coordinator says of the job, with its signed record if it has ended.
        generated_at: the time of making, with its zone.
        site_metrics: figures per hospital, where somebody could compute them.
        federation: what signatures are verified against; without it the page says that they were not.
        log: what `read_log` or `verify_bundle` made of the coordinator's exported audit log, or the error it raised;
            None when it was not tried. Only with `read_log` can a line of the laws be called proved.

    Raises:
        ValueError: ``generated_at`` has no time zone.
    """
    if generated_at.tzinfo is None:
        raise ValueError("the time at which a report is made needs its time zone")
    sources = read_sources(detail)
    evidence = log if isinstance(log, LogEvidence) else None
    verified = log.verified if isinstance(log, LogEvidence) else log
    page = make_page(
        PageInputs(
            sources=sources,
            findings=check_evidence(sources, federation=federation, log=verified),
            organisations={} if federation is None else federation.organisations,
            site_metrics=site_metrics,
            generated_at=generated_at,
            evidence=evidence,
            policies=policy_stories(evidence, federation),
        )
    )
    return _environment().get_template("report.html.j2").render(page=page).encode("utf-8")


def render_template(template: str, **context: object) -> bytes:
    """A page of its own kind in the report's dress and under its rules, as UTF-8.

    Args:
        template: One of the report's templates.
        context: What it shows; everything but ``Markup`` is escaped.
    """
    return _environment().get_template(template).render(**context).encode("utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("fedseal.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )


def _shown(value: object) -> object:
    """A value as the page may show it; text that a template has made is left alone."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    cut = value if len(value) <= LONGEST_TEXT else value[: LONGEST_TEXT - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(_visible(character) for character in cut)


def _visible(character: str) -> str:
    # A no-break space is ours and is not "printable"; other space is space.
    if character.isprintable() or character == "\N{NO-BREAK SPACE}":
        return character
    return " " if character.isspace() else character.encode("unicode_escape").decode("ascii")
