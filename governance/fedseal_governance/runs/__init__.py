"""The coordinator's jobs: their state, the nodes' answers, rounds, masking messages, and what was produced.

Rules kept here:

1. States change only along the literal tables below.
2. Rounds are stored as events: parameters, messages and closed steps. Fed again in the order of their
   arrival, they rebuild a round after a restart. A message is stored once; the same bytes again are no
   news, other bytes from the same sender for the same step are an error.
3. A job has one open round at a time; the last good state is an artefact named by its digest.
4. Messages are working state: they are deleted when their attempt has ended.

The log entries of these changes are the caller's, who knows more about them. Large values are files of the
coordinator, named by their digest; here are only kind, digest and size.
"""

from fedseal_governance.runs.store import (
    MessageConflict,
    RoundKey,
    add_answer,
    add_artefact,
    add_job,
    add_message,
    add_round,
    answers,
    artefacts,
    change_job,
    end_round,
    find_job,
    forget_messages,
    job,
    jobs,
    messages,
    open_round,
    round_row,
    rounds,
)
from fedseal_governance.runs.tables import (
    JOB_TRANSITIONS,
    ROUND_TRANSITIONS,
    AnswerRow,
    ArtefactRow,
    JobRow,
    JobState,
    MessageRow,
    RoundRow,
    RoundState,
)

__all__ = [
    "JOB_TRANSITIONS",
    "ROUND_TRANSITIONS",
    "AnswerRow",
    "ArtefactRow",
    "JobRow",
    "JobState",
    "MessageConflict",
    "MessageRow",
    "RoundKey",
    "RoundRow",
    "RoundState",
    "add_answer",
    "add_artefact",
    "add_job",
    "add_message",
    "add_round",
    "answers",
    "artefacts",
    "change_job",
    "end_round",
    "find_job",
    "forget_messages",
    "job",
    "jobs",
    "messages",
    "open_round",
    "round_row",
    "rounds",
]
