"""Report: sections about models, in one page."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.util import find_spec

from autorec_cli import __version__
from autorec_cli.errors import UsageError
from autorec_cli.report.contents import Report
from autorec_cli.report.findings import warnings_of
from autorec_cli.report.sections.comparison import comparison_section
from autorec_cli.report.sections.curves import curves_section
from autorec_cli.report.sections.errors import errors_section
from autorec_cli.report.sections.facts import facts_section
from autorec_cli.report.sections.metrics import metrics_section
from autorec_cli.report.sections.neighbors import neighbors_section
from autorec_cli.report.sections.people import people_section
from autorec_cli.report.sections.rankings import rankings_section
from autorec_cli.report.subject import Subject
from autorec_cli.runtime.stages import begin_stage

SECTIONS = (
    metrics_section,
    comparison_section,
    facts_section,
    curves_section,
    errors_section,
    rankings_section,
    people_section,
    neighbors_section,
)
"""Sections in their order on the page."""
PACKAGES = ("matplotlib", "jinja2")
MOST_MODELS = 4


def make_report(subject: Subject) -> Report:
    """Gather what a page shows.

    Raises:
        InputDataError: a user to show is unknown.
        UsageError: there are too many models for one page.
    """
    if len(subject.models) > MOST_MODELS:
        raise UsageError(
            f"a report is on at most {MOST_MODELS} models, not {len(subject.models)}; `autorec evaluate` takes more"
        )
    people = people_section(subject) if subject.settings.user_ids is not None else None  # may be wrong: first
    begin_stage("reporting")
    sections = [people if people and make is people_section else make(subject) for make in SECTIONS]
    names = ", ".join(name for name, _ in subject.models)
    return Report(
        f"Report on {names}",
        f"Written by autorec {__version__} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        warnings_of(subject),
        [section for section in sections if not section.is_empty],
    )


def missing_packages() -> list[str]:
    """Packages that a page needs and that are not installed."""
    return [name for name in PACKAGES if find_spec(name) is None]
