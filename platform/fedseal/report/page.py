"""From the evidence to the content of the page."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fedseal.report import wording
from fedseal.report.checks import Findings
from fedseal.report.evidence import LogEvidence, PolicyStory
from fedseal.report.figures import (
    BYTES_SENT,
    CLIPPED,
    ROWS,
    counted,
    data_size,
    date_and_time,
    day,
    describe,
    duration,
    share,
    whole,
)
from fedseal.report.history import EVALUATION, STATISTICS, Slot, colluders_withstood, row_changes, slots_of
from fedseal.report.laws import laws
from fedseal.report.layout import Commands, DisclosureView, Fact, Page, ProtectionView, Results, Seen, View
from fedseal.report.plots import course_plot, sites_plot
from fedseal.report.sites import SiteMetrics, comparison, has_undefined, metric_tables
from fedseal.report.sources import STATISTICS as STATISTICS_FILE
from fedseal.report.sources import Sources, moment
from fedseal.report.tables import ACCEPTED, REFUSED, NodeRow, clause_rows, events, node_rows, round_lines, span_rows
from fedseal.report.wording import State, Story
from fedseal_governance.jobs import JobDocument
from fedseal_governance.records import DisclosureRecord
from fedseal_governance.vocabulary import Disclosure, JobKind, Protection

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageInputs:
    """All that a page is made from."""

    sources: Sources
    findings: Findings
    organisations: Mapping[str, str]
    site_metrics: SiteMetrics | None
    generated_at: datetime
    evidence: LogEvidence | None
    policies: Mapping[str, PolicyStory]


def make_page(inputs: PageInputs) -> Page:
    """Arrange a job's evidence as a page."""
    sources, record = inputs.sources, inputs.sources.record
    slots = slots_of(sources.attempts)
    nodes = node_rows(sources, slots, inputs.organisations, inputs.policies)
    state = wording.state_of(sources.state)
    protection = _protection(sources, slots)
    shown_events, more_events = events(sources.attempts)
    rounds, left_out = round_lines(sources.attempts)
    summary = sources.detail.summary
    return Page(
        state=state,
        verdict=wording.verdict(inputs.findings, state),
        name=(summary.name if record is None else record.name) or "Job without a name",
        federation="" if record is None else record.federation,
        digest_beginning=_digest_beginning(sources),
        generated=date_and_time(inputs.generated_at.astimezone(UTC)),
        headline=wording.headline(_story(sources, state, nodes, slots)),
        reason=summary.reason if record is None else record.reason,
        facts=_facts(inputs, nodes, slots, protection),
        description="" if sources.job is None else sources.job.description,
        computed=_computed(sources),
        columns=() if sources.job is None else sources.job.features,
        purpose=_purpose(sources),
        nodes=nodes,
        refusing=tuple(node for node in nodes if node.refusals),
        organisations_known=any(node.organisation for node in nodes),
        disclosure=None if record is None else _disclosure(record.disclosure),
        protection=protection,
        course=course_plot(slots, nodes=[node.name for node in nodes], minimum=_minimum(sources)),
        spans=span_rows(sources.attempts),
        events=shown_events,
        more_events=more_events,
        row_changes=tuple(row_changes(slots)),
        results=_results(inputs, slots),
        privacy=_privacy(sources),
        findings=inputs.findings,
        digests=_digests(sources),
        log=_log(sources),
        commands=Commands(model=wording.MODEL_COMMAND, export=wording.LOG_EXPORT_COMMAND, log=wording.LOG_COMMAND),
        software=_software(sources),
        rounds=rounds,
        rounds_left_out=left_out,
        clauses=clause_rows(sources.detail.answers),
        laws=laws(sources, inputs.findings, inputs.evidence),
        log_verified=inputs.evidence is not None and not inputs.findings.failed,
    )


def _story(sources: Sources, state: State, nodes: Sequence[NodeRow], slots: Sequence[Slot]) -> Story:
    return Story(
        state=state,
        job=sources.job,
        asked=len(nodes),
        accepted=sum(node.answer == ACCEPTED for node in nodes),
        refused=sum(node.answer == REFUSED for node in nodes),
        done=_done(slots),
        planned=sources.detail.summary.rounds_planned,
        attempted=bool(slots),
        has_model=bool(sources.model_digest),
        level=_level(sources),
        minimum=_minimum(sources),
    )


def _facts(
    inputs: PageInputs, nodes: Sequence[NodeRow], slots: Sequence[Slot], protection: ProtectionView
) -> tuple[Fact, ...]:
    sources, scientist = inputs.sources, inputs.findings.scientist
    summary, record = sources.detail.summary, sources.record
    accepted = sum(node.answer == ACCEPTED for node in nodes)
    start = moment(summary.submitted_at if record is None else record.submitted_at)
    end = moment(summary.finished_at if record is None else record.ended_at)
    purpose = _purpose(sources)
    rows = next((item.figures[ROWS] for item in sources.attempts if ROWS in item.figures), None)
    failures = sum(slot.failures for slot in slots)
    recovered = sum(bool(slot.last.recovered) for slot in slots)
    troubles = [f"{counted(recovered)} with recovery"] if recovered else []
    troubles += [f"{counted(failures)} failed attempt{'' if failures == 1 else 's'}"] if failures else []
    took = duration(start, end)
    return (
        Fact(term="Purpose", value=purpose.value, note=purpose.term),
        Fact(term="Data holders", value=f"{accepted} of {len(nodes)} agreed", note=_dataset(sources)),
        Fact(term="Requested by", value=_requester(sources), note="" if scientist is None else scientist.organisation),
        Fact(term="Submitted", value=day(start), note=f"took {took}" if took else ""),
        Fact(
            term="Rounds",
            value=f"{whole(_done(slots))} of {whole(summary.rounds_planned)}",
            note=", ".join(troubles) or ("all at the first attempt" if slots else "none began"),
        ),
        Fact(
            term="Training rows",
            value=whole(rows) if rows is not None else "not stated" if slots else "none",
            note="of all data holders together" if rows is not None else "",
        ),
        Fact(
            term="Protection",
            value=protection.title,
            note=f"sums of at least {protection.minimum}" if protection.minimum else "",
        ),
        Fact(term="Differential privacy", value=_privacy(sources).term, note="see section 6"),
    )


def _computed(sources: Sources) -> tuple[Fact, ...]:
    job, record = sources.job, sources.record
    if job is None:
        return ()
    facts = [Fact(term="Kind", value=job.kind.plain.capitalize())]
    if job.method is not None:
        rounds = f"{whole(job.method.rounds)} rounds"
        facts.append(Fact(term="Method", value=job.method.name, note=_settings(rounds, job.method.settings)))
    if job.learner is not None:
        facts.append(Fact(term="Local learner", value=job.learner.name, note=_settings("", job.learner.settings)))
    facts.append(Fact(term="Dataset", value=job.dataset, note=_schema_note(sources)))
    if job.target is not None:
        facts.append(Fact(term="Outcome to predict", value=job.target, note=_outcome_note(sources, job.target)))
    if job.evaluation is not None:
        note = "kept out of the training at each data holder, to test the model on"
        facts.append(Fact(term="Held out", value=f"{job.evaluation.holdout * 100:g} %", note=note))
    note = f"at most {whole(job.weights.maximum_rows)} rows of each data holder; starting point (seed) {job.seed}"
    facts.append(Fact(term="Limits", value=f"At least {counted(job.minimum_cohort)} data holders a sum", note=note))
    requester = _requester(sources)
    submitted = date_and_time(moment(sources.detail.summary.submitted_at if record is None else record.submitted_at))
    facts.append(Fact(term="Requested by", value=requester, note=f"submitted {submitted}"))
    return tuple(facts)


def _settings(first: str, settings: Mapping[str, object]) -> str:
    parts = [first] if first else []
    parts += [f"{name.replace('_', ' ')} {value}" for name, value in settings.items()]
    return ", ".join(parts)


def _schema_note(sources: Sources) -> str:
    if sources.schema is None:
        return ""
    return sources.schema.description


def _outcome_note(sources: Sources, target: str) -> str:
    if sources.schema is None:
        return ""
    column = next((item for item in sources.schema.columns if item.name == target), None)
    return "" if column is None or not column.positive else f"yes means {', '.join(column.positive)}"


def _requester(sources: Sources) -> str:
    return sources.detail.summary.submitted_by if sources.record is None else sources.record.submitted_by


def _dataset(sources: Sources) -> str:
    if sources.record is not None:
        return f"dataset {sources.record.dataset}"
    return "" if sources.job is None else f"dataset {sources.job.dataset}"


def _purpose(sources: Sources) -> Fact:
    code = sources.record.purpose if sources.record is not None else ""
    if not code and sources.job is not None:
        code = sources.job.purpose
    label = wording.purpose_label(code)
    return Fact(term=code, value=label[:1].upper() + label[1:] if label else code or "not stated")


def _done(slots: Sequence[Slot]) -> int:
    return sum(slot.last.completed for slot in slots)


def _level(sources: Sources) -> Disclosure | None:
    if sources.record is None or sources.record.disclosure.level not in Disclosure.__members__:
        return None
    return Disclosure[sources.record.disclosure.level]


def _minimum(sources: Sources) -> int | None:
    stated = [attempt.minimum_cohort for attempt in sources.attempts if attempt.minimum_cohort is not None]
    if stated:
        return min(stated)
    return None if sources.job is None else sources.job.minimum_cohort


def _disclosure(stated: DisclosureRecord) -> DisclosureView:
    level = Disclosure[stated.level] if stated.level in Disclosure.__members__ else None
    views: dict[str, list[Seen]] = {}
    for quantity in stated.quantities:
        party, _, rest = quantity.partition(": ")
        name, _, description = rest.partition(" - ")
        seen = Seen(name=name, description=description)
        if seen not in views.setdefault(party, []):
            views[party].append(seen)
    return DisclosureView(
        learns=stated.level if level is None else level.plain,
        sums_only=level is Disclosure.SUM,
        paragraphs=tuple(_titled(paragraph) for paragraph in stated.paragraph.split("\n\n")),
        views=tuple(View(party=_party(party), seen=tuple(seen)) for party, seen in views.items()),
    )


def _party(name: str) -> str:
    return "The coordinator" if name == "coordinator" else name[:1].upper() + name[1:]


def _titled(paragraph: str) -> tuple[str, str]:
    title, colon, rest = paragraph.partition(": ")
    # The platform puts "Title: " before each method's paragraph; a colon later on is part of the text.
    return (title, rest) if colon and "." not in title and len(title) <= 80 else ("", paragraph)


def _protection(sources: Sources, slots: Sequence[Slot]) -> ProtectionView:
    kind = _protection_kind(sources)
    minimum, colluders = _minimum(sources), colluders_withstood(slots, kind)
    sent = sum(slot.last.figures.get(BYTES_SENT, 0.0) for slot in slots)
    return ProtectionView(
        code="" if kind is None else kind.value,
        title="not stated" if kind is None else wording.PROTECTION_TITLES[kind],
        minimum="" if minimum is None else counted(minimum),
        colluders="" if colluders is None else counted(colluders),
        clipped=_clipped(slots),
        sent=data_size(sent) if sent else "",
    )


def _clipped(slots: Sequence[Slot]) -> str:
    found = [slot.last.figures[CLIPPED] for slot in slots if CLIPPED in slot.last.figures]
    if not found:
        return ""
    return share(max(found)) if max(found) > 0 else "none"


def _protection_kind(sources: Sources) -> Protection | None:
    stated = sources.record.protection if sources.record is not None else ""
    if not stated and sources.job is not None:
        return sources.job.protection
    return Protection(stated) if stated in set(Protection) else None


def _results(inputs: PageInputs, slots: Sequence[Slot]) -> Results:
    sources, metrics = inputs.sources, inputs.site_metrics
    trained = _trains(sources.job)
    stage = EVALUATION if trained else STATISTICS
    last = [slot.last for slot in slots if slot.last.stage == stage and slot.last.completed]
    tables = () if metrics is None else metric_tables(metrics)
    return Results(
        figures=describe(last[-1].figures) if last else (),
        trained=trained,
        model=sources.model_digest,
        tables=tables,
        plot=None if metrics is None else sites_plot(metrics),
        undefined=has_undefined(tables),
        comparison="" if metrics is None else comparison(metrics),
    )


def _trains(job: JobDocument | None) -> bool:
    return job is None or job.kind is JobKind.TRAINING


def _privacy(sources: Sources) -> Fact:
    if sources.record is not None:
        mechanism, statement = sources.record.privacy.mechanism, sources.record.privacy.statement
    else:
        mechanism, statement = "none" if sources.job is None else sources.job.privacy.mechanism.value, ""
    return Fact(term="None applied" if mechanism == "none" else mechanism, value=mechanism, note=statement)


def _digests(sources: Sources) -> tuple[Fact, ...]:
    record = sources.record
    facts = [
        Fact(term="Job file", value=sources.job_digest, note="identifies this job everywhere"),
        Fact(term="Model", value=sources.model_digest, note="model.safetensors"),
        Fact(term="Job record", value=sources.record_digest or "", note="signed by the coordinator; job-record.json"),
    ]
    if record is not None:
        facts += [
            Fact(term="Signed job file", value=record.envelope, note="the job file with its signature"),
            Fact(term="Dataset schema", value=record.schema_digest, note="which columns there are"),
            Fact(term="Learner", value=record.learner_digest, note="the local training code"),
        ]
    statistics = "a JSON file at the coordinator; the job record does not name it"
    facts.append(Fact(term="Published statistics", value=sources.offered(STATISTICS_FILE), note=statistics))
    return tuple(fact for fact in facts if fact.value)


def _log(sources: Sources) -> Fact | None:
    record = sources.record
    return None if record is None else Fact(term=record.log_origin, value=str(record.log_position))


def _software(sources: Sources) -> tuple[Fact, ...]:
    if sources.record is None:
        return ()
    return tuple(Fact(term=name, value=version) for name, version in sorted(sources.record.software.items()))


def _digest_beginning(sources: Sources) -> str:
    """For the foot of each printed page, where nothing but hexadecimal digits may stand."""
    digest = sources.job_digest or sources.detail.summary.job
    return digest[:12] if _DIGEST.fullmatch(digest) else ""
