"""The job report: one self-contained HTML page that tells people what a job did, from its evidence.

``render_report`` is pure: the same job, the same arguments, the same bytes. The page needs no script, no font and
no other file, reads well on a screen, on a phone and on paper, and says of each statement where it comes from.
"""

from fedseal.report.checks import FederationView
from fedseal.report.evidence import LogEvidence, read_log
from fedseal.report.pdf import to_pdf
from fedseal.report.rendering import render_report
from fedseal.report.sites import SiteFigures, SiteMetrics, SiteRow

__all__ = [
    "FederationView",
    "LogEvidence",
    "SiteFigures",
    "SiteMetrics",
    "SiteRow",
    "read_log",
    "render_report",
    "to_pdf",
]
