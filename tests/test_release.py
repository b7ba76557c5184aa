"""Changelog and version, as a release needs them."""

import pytest

import autorec_cli
from tests.release import NotReadyError, changes_of, check_version

DONE = (
    "# Changelog\n\n## [Unreleased]\n\n## [1.2.0] - 2026-12-01\n\n### Added\n\n- A thing.\n\n## [1.1.0] - 2026-01-01\n"
)


def test_the_changes_of_a_version_are_read():
    assert changes_of("1.2.0", DONE) == "### Added\n\n- A thing."


@pytest.mark.parametrize(
    ("version", "changelog", "word"),
    [
        ("1.3.0", DONE, "no entry for 1.3.0"),
        ("1.1.0", DONE, "no entry for 1.1.0"),
        ("1.2.0", DONE.replace(" - 2026-12-01", ""), "YYYY-MM-DD"),
        ("1.2.0", DONE.replace("[Unreleased]\n", "[Unreleased]\n\n- Another.\n"), "Unreleased"),
    ],
)
def test_a_changelog_that_is_not_ready_is_refused(version, changelog, word):
    with pytest.raises(NotReadyError, match=word):
        changes_of(version, changelog)


def test_the_version_is_in_one_place():
    check_version(autorec_cli.__version__)
    with pytest.raises(NotReadyError, match=r"is in tests/test_release\.py;"):
        check_version("no version")
