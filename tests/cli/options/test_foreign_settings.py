"""Settings files that somebody else wrote."""

import os

import pytest

from tests.program import call

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
ONE = ("--user", "007")


@as_root
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_config_file_of_another_user_is_refused(tmp_path, lists_model, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs").write_text('[recommend]\noutput = "precious.csv"\n')
    (tmp_path / "autorec.toml").symlink_to("theirs")
    os.chown(tmp_path / ("theirs" if kind == "file" else "autorec.toml"), 65534, 65534, follow_symlinks=False)
    result = call("recommend", lists_model, *ONE, "-q")
    assert (result.status, result.stdout) == (2, "")
    assert "belongs to another user" in result.stderr
    assert not (tmp_path / "precious.csv").exists()
    assert call("recommend", lists_model, *ONE, "-q", "--config", "autorec.toml").status == 0


def test_a_config_file_that_sets_an_output_is_named(tmp_path, lists_model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "autorec.toml").write_text('[recommend]\noutput = "top.csv"\n')
    result = call("recommend", lists_model, *ONE, "-q")
    assert result.status == 0
    assert "warning: autorec.toml in the current directory sets --output to top.csv" in result.stderr
    for arguments in (("-o", "-"), ("--config", "autorec.toml")):
        assert call("recommend", lists_model, *ONE, "-q", *arguments).stderr == ""
