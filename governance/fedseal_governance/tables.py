"""Every table of every party in one metadata: importing this module makes it complete.

Migrations and tests need that; a party's own code imports the modules that it uses.
"""

from sqlalchemy import MetaData

from fedseal_governance import history, members, participation
from fedseal_governance.audit import tables as audit_tables
from fedseal_governance.columns import Base
from fedseal_governance.consent import tables as consent_tables
from fedseal_governance.datasets import tables as dataset_tables
from fedseal_governance.policy import tables as policy_tables
from fedseal_governance.runs import tables as run_tables

MODULES = (
    audit_tables,
    consent_tables,
    dataset_tables,
    history,
    members,
    participation,
    policy_tables,
    run_tables,
)
"""The modules that define tables."""

metadata: MetaData = Base.metadata
"""All of them."""
