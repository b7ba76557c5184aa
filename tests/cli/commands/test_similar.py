"""`autorec similar` through the program."""

import io

import polars as pl
import pytest

from tests.program import call, run

IDS = {"item_id": pl.String, "user_id": pl.String, "similar_id": pl.String}


def test_a_pipe_gets_csv_of_all_items(workshop):
    result = run("similar", "item.model", "-k", 3, cwd=workshop)
    assert result.status == 0, result.stderr
    frame = pl.read_csv(io.StringIO(result.stdout), schema_overrides=IDS)
    assert frame.height == 3 * frame["item_id"].n_unique() > 100
    assert frame["similarity"].is_between(-1, 1).all()
    assert frame["similar_title"].null_count() == 0


def test_named_items_and_users_in_tables(workshop):
    result = call("similar", workshop / "both.model", "--item", "00001,00002", "--format", "table", "-k", 2)
    assert result.status == 0, result.stderr
    assert result.stdout.index("item 00001: ") < result.stdout.index("item 00002: ")
    result = call("similar", workshop / "user.model", "--user", "007", "--format", "table", "-k", 2)
    assert (result.status, "user 007\n" in result.stdout) == (0, True)


def test_a_table_shows_the_first_and_says_how_many_are_left(workshop):
    result = call("similar", workshop / "item.model", "--of", "users", "--format", "table", "--show", 2)
    assert (result.status, result.stdout.count("user ")) == (0, 2)
    assert "--show 0" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (("--item", "nothing"), 3, "nothing"),
        (("--user", "nobody"), 3, "nobody"),
        (("--user", "1"), 3, "the model does not know user '1'; did you mean '001'?"),
        (("--item", "36"), 3, "the model does not know item '36'; did you mean '00036'?"),
        (("--item", ""), 3, "item ''"),
        (("--item", " , "), 3, "item ' , '"),
        (("--item", "00001", "--user", "007"), 2, "--item"),
        (("--item", "00001", "--of", "users"), 2, "--of"),
        (("--min-ratings", 99999), 3, "--min-ratings"),
        (("--show", -1), 2, "--show"),
        (("-o", "similar.html"), 2, "similar.html"),
    ],
)
def test_what_cannot_be_done_is_refused(workshop, tmp_path, monkeypatch, arguments, status, word):
    monkeypatch.chdir(tmp_path)
    result = call("similar", workshop / "item.model", *arguments)
    assert (result.status, result.stdout, word in result.stderr) == (status, "", True), result.stderr
    assert list(tmp_path.iterdir()) == []
