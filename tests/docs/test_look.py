"""Screenshots need a browser, which is not always there."""

import subprocess
import sys

import pytest

from docs import look


def test_without_a_browser_there_is_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["look", str(tmp_path / "report.html")])
    with pytest.raises(SystemExit, match="2"):
        look.main()
    assert "--browser" in capsys.readouterr().err


def test_the_first_installed_browser_takes_four_screenshots(tmp_path, monkeypatch, capsys):
    page, browser = tmp_path / "report.html", tmp_path / "google-chrome"
    page.write_text("<p>")
    browser.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["look", str(page), "-o", str(tmp_path / "shots")])
    started = []

    def run(command, **_):
        started.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(look, "_crop", lambda *_: None)
    assert look.main() == 0
    assert [command[0] for command in started] == [str(browser)] * 4
    assert len(capsys.readouterr().out.splitlines()) == 4
