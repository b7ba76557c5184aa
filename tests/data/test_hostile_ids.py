"""Ids are texts, whatever is in them: they come out of every format as they went in, and steer no terminal."""

import csv
import io
import itertools
import json
import os

import polars as pl
import pytest

from tests.program import call

NAUGHTY = [
    *("a,b", 'say "hi"', '"', "two\nlines", "cr\r\nlf", "tab\there", "semi;colon", "pipe|d", "a::b", " blank ", "'"),
    *("[red]bold[/red]", "[link=http://x]y[/link]", "=cmd()|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\uff1d1"),
    *(
        "\U0001f600",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\u202eabc",
        "\u200fשלום",
        "می\u200cخواهم",
        "e\u0301",
    ),
    *(
        "\x1b[31mred\x1b[0m",
        "\x1b]0;title\x07",
        "\x08\x08",
        "\x7f",
        "\x85",
        "\u2028",
        "\ufeffx",
        "\\n",
        "%s",
        "{}",
        "$HOME",
    ),
    *("007", "7", "7.0", "NaN", "null", "None", "true", "1e3", "A" * 300),
]
FORMATS = ("csv", "tsv", "jsonl", "json", "parquet", "table")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder with `ratings.csv`, whose ids and titles are all naughty, and what becomes of it."""
    folder = tmp_path_factory.mktemp("hostile")
    with (folder / "ratings.csv").open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(["user", "item", "rating"])
        for (row, user), (column, item) in itertools.product(enumerate(NAUGHTY), enumerate(NAUGHTY)):
            if (row + 3 * column) % 5:
                writer.writerow([f"u{user}", item, 1 + (row * column) % 5])
    with (folder / "items.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([["item", "title"], *zip(NAUGHTY, NAUGHTY, strict=True)])
    data, model = folder / "data", folder / "model"
    for arguments in (
        ("prepare", folder / "ratings.csv", "--items", folder / "items.csv", "-o", data),
        ("train", data, "-o", model, "--epochs", 2, "--hidden-size", 4),
    ):
        result = call(*arguments)
        assert result.status == 0, result.stderr
        assert_tame(result.stderr)
    return folder


def assert_tame(text):
    """Nothing in `text` but printable characters, the two that join letters, and newlines."""
    wild = {letter for letter in text if not (letter.isprintable() or letter in "\n\u200c\u200d")}
    assert not wild, ascii(wild)


def rows_of(text, format):
    match format:
        case "csv" | "tsv":
            return list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if format == "tsv" else ","))
        case "jsonl":
            return [json.loads(line) for line in text.split("\n") if line]
        case "json":
            return json.loads(text)


def test_a_dataset_holds_ids_as_they_are(shop):
    assert sorted(pl.read_parquet(shop / "data" / "items.parquet")["id"]) == sorted(NAUGHTY)
    assert sorted(pl.read_parquet(shop / "data" / "users.parquet")["id"]) == sorted(f"u{text}" for text in NAUGHTY)


@pytest.mark.parametrize("format", FORMATS)
def test_lists_hold_ids_as_they_are(shop, format):
    output = shop / f"lists.{format}" if format != "table" else shop / "lists.txt"
    result = call("recommend", shop / "model", "-k", 100, "--show", 0, "-o", output)
    assert result.status == 0, result.stderr
    if format == "table":
        text = output.read_text()
        assert_tame(text)
        assert "[red]bold[/red]" in text
        assert r"\x1b[31mred\x1b[0m" in text
        assert r"\u202eabc" in text
        return
    rows = pl.read_parquet(output).to_dicts() if format == "parquet" else rows_of(output.read_bytes().decode(), format)
    assert {row["user_id"] for row in rows} == {f"u{text}" for text in NAUGHTY}
    assert {row["item_id"] for row in rows} == set(NAUGHTY)
    assert all(row["title"] == row["item_id"] for row in rows)


@pytest.mark.parametrize("user", NAUGHTY)
def test_a_user_can_be_asked_for_by_any_id(shop, user):
    result = call("recommend", shop / "model", "--user", f"u{user}", "--format", "json")
    assert result.status == 0, result.stderr
    assert {row["user_id"] for row in json.loads(result.stdout)} == {f"u{user}"}


@pytest.mark.parametrize("user", NAUGHTY)
def test_what_is_said_of_an_id_steers_no_terminal(shop, user):
    result = call("recommend", shop / "model", "--user", f"no such {user}")
    assert result.status == 3
    assert len(result.stderr.splitlines()) == 1
    assert_tame(result.stderr)


def test_csv_safe_lists_have_no_formulas(shop):
    result = call("recommend", shop / "model", "-k", 100, "--csv-safe")
    cells = {row["item_id"] for row in rows_of(result.stdout, "csv")}
    assert {"'=cmd()|' /C calc'!A0", "'+1", "'-1", "'@SUM(A1)", "'\uff1d1", "a,b"} <= cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_evaluation_goes_through(shop):
    result = call("evaluate", shop / "model", "--format", "json")
    assert result.status == 0, result.stderr
    assert json.loads(result.stdout)[0]["n_pairs"] > 100


def test_what_is_written_can_be_read_again(shop, tmp_path):
    """Lists as ratings: `prepare` reads what `recommend` writes."""
    for format in ("csv", "tsv", "parquet"):
        lists, data = tmp_path / f"lists.{format}", tmp_path / format
        assert call("recommend", shop / "model", "-k", 100, "-o", lists).status == 0
        columns = "user=user_id,item=item_id,rating=rank"
        # In tab-separated text a quote is a character unless told otherwise; ids with tabs need quotes.
        quotes = ("--quote", "double") if format == "tsv" else ()
        result = call("prepare", lists, "-o", data, "--columns", columns, "--split", "none", *quotes)
        assert result.status == 0, result.stderr
        assert set(pl.read_parquet(data / "items.parquet")["id"]) == set(NAUGHTY)


def test_a_name_that_is_not_utf_8_is_used(shop, tmp_path):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    assert call("prepare", shop / "ratings.csv", "-o", f"{odd}data").status == 0
    assert call("train", f"{odd}data", "-o", f"{odd}m", "--epochs", 1, "--hidden-size", 2).status == 0
    assert call("recommend", f"{odd}m", "-k", 1, "-o", f"{odd}lists.csv").status == 0
    pl.read_csv(shop / "ratings.csv").write_parquet(tmp_path / "r.parquet")
    (tmp_path / "r.parquet").rename(f"{odd}.parquet")
    assert call("prepare", f"{odd}.parquet", "-o", f"{odd}other").status == 0
    for path in (f"{odd}data", f"{odd}m"):
        result = call("info", path)
        assert (result.status, result.stderr) == (0, "")
        assert result.stdout.startswith("name,value\nkind,")
    assert call("evaluate", f"{odd}m", "-o", f"{odd}rows.csv").status == 0
