"""A policy in plain English: every field, no jargon, and the same text for the same policy.

Officers read this text before they sign, so nothing may be left out: a test walks over the model's fields
and fails when one of them does not influence the text.
"""

from datetime import date

from fedseal_governance.policy.model import PolicyDocument
from fedseal_governance.vocabulary import Disclosure, Protection

_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def explain(policy: PolicyDocument) -> str:
    """The whole policy as paragraphs of plain English, one blank line between them."""
    paragraphs = [
        _title(policy),
        _data_and_purposes(policy),
        _jobs(policy),
        _protection(policy),
        _privacy(policy),
        _consent(policy),
        _approval(policy),
        _retention(policy),
        _validity(policy),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _title(policy: PolicyDocument) -> str:
    return (
        f"This is version {policy.version} of the policy “{policy.policy}” of {policy.owner}. It says what "
        "others may compute on the data listed here. What it does not mention is forbidden."
    )


def _validity(policy: PolicyDocument) -> str:
    first, last = _day(policy.valid.start), _day(policy.valid.until)
    return f"Period. The policy may be in force from {first} until the end of {last} (UTC)."


def _data_and_purposes(policy: PolicyDocument) -> str:
    datasets = "dataset" if len(policy.datasets) == 1 else "datasets"
    purposes = _listed([f"{purpose.label} ({purpose.code})" for purpose in policy.purposes], "or")
    return (
        f"Data. The policy covers the {datasets} {_listed(list(policy.datasets), 'and')}. "
        f"The data may be used for {purposes}, and for narrower purposes within, but for nothing else. "
        "The data itself never leaves the site."
    )


def _jobs(policy: PolicyDocument) -> str:
    jobs = policy.jobs
    sentences = [f"Allowed are jobs for {_listed([kind.plain for kind in jobs.kinds], 'and')}."]
    if jobs.methods:
        sentences.append(f"The methods by which sites may work together are {_listed(list(jobs.methods), 'and')}.")
    else:
        sentences.append("No method for training together is allowed.")
    if jobs.learners:
        sentences.append(f"The programs that may learn from the data are {_listed(list(jobs.learners), 'and')}.")
    else:
        sentences.append("No program may learn from the data.")
    for name, digest in sorted(jobs.learner_digests.items()):
        sentences.append(f"The program {name} must be exactly the one with the fingerprint {digest}.")
    sentences.append(
        f"A job may exchange intermediate results at most {_times(jobs.max_rounds)}, and pass over "
        "the records at "
        f"most {_times(jobs.max_local_epochs)} in between."
    )
    return "Jobs. " + " ".join(sentences)


def _protection(policy: PolicyDocument) -> str:
    rules = policy.protection
    ways = _listed([f"{way.value} ({way.plain})" for way in rules.allowed], "or")
    learns = {
        Disclosure.SUM: "It never learns what this site alone contributed.",
        Disclosure.GROUP_SUMS: "It never learns what this site alone contributed.",
        Disclosure.SCALARS: "It learns named single figures of this site, but not its contribution.",
        Disclosure.INDIVIDUAL: "It learns what this site alone contributed.",
    }[rules.coordinator_may_learn]
    warning = (
        " Without protection, whoever runs the coordinator can read this site's contribution."
        if Protection.NONE in rules.allowed
        else ""
    )
    return (
        f"Protection. What the site contributes must be protected by {ways}.{warning} "
        f"The coordinator may learn {rules.coordinator_may_learn.plain}. {learns} "
        f"A sum is released only when at least {_sites(rules.minimum_cohort)} are in it. {_assumptions(policy)}"
    )


def _assumptions(policy: PolicyDocument) -> str:
    rules = policy.protection
    apart = rules.minimum_difference
    few = {2: "one site", 3: "one or two sites"}.get(apart, f"one to {apart - 1} sites")
    return (
        f"The protection must hold even if {_percent(rules.corrupted_fraction)} of the sites secretly work together "
        "with whoever runs the coordinator; one such site is always assumed, and just under a third where fewer than "
        "ten sites take part. "
        f"A round must be able to go on when {_percent(rules.dropout_fraction)} of the sites leave it. "
        f"Of two {rules.history.scope.plain}, the second is refused if the sites in them differ by {few}, because "
        "subtracting one sum from the other would show what those few contributed."
    )


def _privacy(policy: PolicyDocument) -> str:
    rules = policy.privacy
    if not rules.has_budget:
        return (
            "Privacy of single persons. No noise is required. Results are protected as described "
            "above, but the "
            "policy sets no limit on what a finished model may reveal about one person in the data."
        )
    return (
        "Privacy of single persons. Results must carry enough noise that one person's data hardly "
        "changes them. "
        f"The allowance (epsilon) is {rules.epsilon_per_job:g} for one job and "
        f"{rules.epsilon_total:g} for all jobs "
        f"together; the promise may fail with a probability of at most {rules.delta:g} (delta). "
        "A job that does not declare such a mechanism is refused."
    )


def _consent(policy: PolicyDocument) -> str:
    rules = policy.consent
    if rules.required:
        first = (
            "A record is used only while a consent for the job's purpose is in force; a withdrawal "
            "takes effect "
            "from the next round on."
        )
    else:
        first = "Records are used without looking at individual consents."
    return f"Consent. {first} The site contributes only if at least {_records(rules.minimum_records)} can be used."


def _approval(policy: PolicyDocument) -> str:
    rules = policy.approval
    if rules.compliance_officers == 1:
        who = f"One compliance officer of {policy.owner}, other than the person who proposed it, must sign it"
    else:
        who = f"{rules.compliance_officers} different compliance officers of {policy.owner} must sign it"
    operator = (
        "The site's operator must agree to each job."
        if rules.node_operator_per_job
        else "The site's operator need not agree to single jobs."
    )
    return f"Approval. {who} before the policy comes into force. {operator}"


def _retention(policy: PolicyDocument) -> str:
    rules = policy.retention
    models = f"for {_years(rules.model_years)}" if rules.model_years else "only until the job has ended"
    return (
        f"Records kept. The audit log is to be kept for {_years(rules.audit_years)}. Models are to be kept {models}. "
        "Whoever runs the site sees to it."
    )


def _listed(words: list[str], joiner: str) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {joiner} {words[-1]}"


def _day(day: date) -> str:
    # Not strftime's %-d and %B: the first is missing on Windows, the second follows the locale.
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.10g} %"


def _sites(number: int) -> str:
    return "one site" if number == 1 else f"{number} sites"


def _records(number: int) -> str:
    return "one record" if number == 1 else f"{number} records"


def _years(number: int) -> str:
    return "one year" if number == 1 else f"{number} years"
