"""Policies, consents, people, datasets, jobs and the audit log, kept in one database per party.

Knows nothing of the wire or of learning: callers hand in facts and get back decisions with reasons.
"""
