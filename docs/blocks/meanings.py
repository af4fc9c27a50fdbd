"""What the keys of policies, jobs, schemas and configuration files mean, by their path."""

from collections.abc import Mapping

POLICY: Mapping[str, str] = {
    "policy": "name; all versions of one policy share it",
    "version": "must be higher than that of every version proposed before",
    "owner": "the organisation whose compliance officers sign; must be the node's own, to the letter",
    "datasets": "names of the registered datasets it speaks for. No two policies in force may name the same one",
    "purposes": "what the data may be used for; a job for a narrower purpose is covered too, see [purposes](#purposes)",
    "purposes[].code": "code of the Data Use Ontology",
    "purposes[].label": "the code's label, to the letter, so that the reviewer reads what the program enforces",
    "jobs": "which jobs may run",
    "jobs.kinds": "kinds of jobs",
    "jobs.methods": "methods; needed if training is allowed",
    "jobs.learners": "learners; needed if training is allowed",
    "jobs.learner_digests": "pins the code of a learner; without an entry any installed version may run",
    "jobs.max_rounds": "most rounds of the method that a job may ask for",
    "jobs.max_local_epochs": "most passes over the site's records within one round",
    "protection": "how contributions are protected",
    "protection.allowed": "a job must use one of these. This version runs `masking` only; `none` needs `INDIVIDUAL`",
    "protection.coordinator_may_learn": "the most that a job may disclose, `SUM` being least",
    "protection.minimum_cohort": "fewest sites whose sum may be released; 3 or more unless only `none` is allowed",
    "protection.corrupted_fraction": "share of a round's sites assumed to collude with the coordinator, one at least; "
    "below ten sites just under a third at least. More makes the threshold higher",
    "protection.dropout_fraction": "share that may leave within a round; shapes rounds of more than 128 sites. With "
    "fewer, the number that may leave follows from the threshold. `corrupted_fraction` plus twice this is at most 0.9",
    "protection.history": "which sums may be released beside earlier ones, see [history](#history)",
    "protection.history.scope": "which earlier sums count: those of the job over the same `model`, all of the same "
    "`job`, or all over the same `dataset` here",
    "protection.history.minimum_difference": "two such sums are over the same sites or differ by at least this many; "
    "if left out, the minimum cohort",
    "privacy": "differential privacy: `{mechanism: none}`, or all three figures of a budget",
    "privacy.mechanism": "`none`: no noise is asked for",
    "privacy.epsilon_per_job": "most that one job may spend. This version has no mechanism: a budget refuses every job",
    "privacy.epsilon_total": "most that all jobs on these datasets may spend together",
    "privacy.delta": "probability with which the promise may fail",
    "consent": "which records may be used",
    "consent.required": "`true`: only records with a consent in force for the job's purpose",
    "consent.minimum_records": "fewer usable records than this, and the site does not contribute",
    "approval": "who must agree",
    "approval.compliance_officers": "distinct officers of the owner who must sign; the proposer alone never suffices",
    "approval.node_operator_per_job": "`true`: the site's operator must agree to each job before it is submitted",
    "retention": "how long evidence and models are to be kept; a duty for people, since nothing is deleted by itself",
    "retention.audit_years": "the audit log",
    "retention.model_years": "models; 0 means until the job has ended",
    "valid": "when the policy may be in force",
    "valid.from": "first day (UTC)",
    "valid.until": "last day (UTC)",
}

JOB: Mapping[str, str] = {
    "job": "name for people; the SHA-256 of the file identifies the job",
    "version": "version of this format",
    "description": "what it is for, in the data scientist's words",
    "purpose": "code of the Data Use Ontology, such as `DUO:0000006`, or `DUO:0000007/MONDO:0005267` for one disease",
    "dataset": "name of the dataset; all nodes must have registered it under the same schema file",
    "kind": "`training`: statistics, training, evaluation. `statistics`: the first of these alone",
    "method": "training only: the federated method",
    "method.name": "as `fedseal method list` shows it",
    "method.rounds": "rounds of the method",
    "method.settings": "see [settings](#settings-of-methods-and-learners)",
    "learner": "training only: the local training code",
    "learner.name": "as `fedseal method list` shows it",
    "learner.settings": "see [settings](#settings-of-methods-and-learners)",
    "features": "input columns, in the order in which they are encoded",
    "target": "training only: the outcome column",
    "evaluation": "training only: which records are held out of training",
    "evaluation.holdout": "share of each site's records, stratified by outcome, by a salted hash of the record's id",
    "evaluation.seed": "salt of that choice",
    "protection": "how contributions are protected; this version runs `masking`",
    "disclosure": "what the coordinator may learn; at least what the method states",
    "nodes": "the sites that are asked",
    "minimum_cohort": "fewest sites whose sum may be released",
    "step_timeout_seconds": "how long one step of the protocol waits for a site; training happens within one step",
    "seed": "starting point of every random choice of the computation; not a secret",
    "weights": "bound on the weight of one site",
    "weights.maximum_rows": "a site with more training rows uses this many of them",
    "privacy": "privacy mechanism",
    "privacy.mechanism": "there is none yet",
}

SCHEMA: Mapping[str, str] = {
    "dataset": "name; policies and jobs refer to it",
    "version": "version of this format",
    "description": "for people",
    "columns": "every column of the file",
    "columns[].name": "as in the header of the data file",
    "columns[].type": "what its cells are; without meaning for `record_id` and `ignored`",
    "columns[].role": "`feature`: a job may use it. `target`: a job may predict it. `record_id`: the pseudonym to "
    "which consents refer. `ignored`: never read",
    "columns[].categories": "of a category: every value, in the order in which it is encoded",
    "columns[].range": "of a number or an image's pixels: smallest and largest value. What is outside is an error",
    "columns[].missing_values": "cells that mean “not measured”, besides the empty cell",
    "columns[].positive": "of a category target: the values that count as yes. With three or more categories it may be "
    "left out; then the category itself is predicted",
    "columns[].unit": "of a number, for people",
    "columns[].shape": "of an image: `[height, width]` or `[channels, height, width]`. Images lie in a safetensors "
    "file beside the CSV file, under its name, one tensor per column in the order of the rows",
}

COORDINATOR: Mapping[str, str] = {
    "listen": "where nodes and people reach it",
    "database": "SQLAlchemy URL, as `postgresql+pg8000://user:password@host/name`; none: `coordinator.db`",
    "offer_seconds": "how long nodes may take to answer an offered job",
    "gather_seconds": "how long a round waits for a node that accepted the job and has not been seen since",
    "return_seconds": "how long the next round waits for a node that left during the last one",
    "patience_seconds": "how long a job waits for its minimum cohort before it fails, and a round in its last step for "
    "answers without which it is lost",
    "reconnect_grace_seconds": "how long a broken connection may take to come back within a round",
    "retry_pause_seconds": "pause before a failed round is tried again",
    "maximum_attempts": "attempts at one round before the job fails",
    "maximum_nodes": "nodes that can be present at once; each holds one thread",
}

NODE: Mapping[str, str] = {
    "coordinator": "`host:port`; none: the address from the invitation",
    "coordinator_name": "the coordinator's name in its certificate",
    "database": "SQLAlchemy URL; none: `node.db` in the folder",
}

AUTHORITY: Mapping[str, str] = {
    "listen": "where the enrolment service listens",
    "address": "how invited parties reach it; written into invitations",
    "coordinator": "the coordinator's `host:port`; written into invitations of nodes and people",
    "certificate_days": "life of the certificates it issues",
    "invitation_hours": "life of an invitation",
    "revocation_days": "a new revocation list is due within this time, even if nothing changed",
}
