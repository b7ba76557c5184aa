"""JSON lines: read like text, with values of their own types."""

from __future__ import annotations

import gzip
import json

import pytest

from autorec_cli.data.builder.read_ratings import read_ratings
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.data.readers.sources import zstd
from autorec_cli.data.readers.tables import json_lines
from autorec_cli.errors import InputDataError
from tests.program import run

RATED = [{"user": n % 7, "item": f"i{n % 5}", "rating": n % 9 / 2, "timestamp": 10**9 + n} for n in range(35)]
TUPLES = [(str(row["user"]), row["item"], row["rating"], row["timestamp"]) for row in RATED]


def lines(rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def read(path, content=None, **options):
    if content is not None:
        path.write_bytes(content)
    table = read_ratings([str(path)], ReadOptions(**options))
    users, items = table.indexes()
    ids = zip(table.user_ids.gather(users).to_list(), table.item_ids.gather(items).to_list(), strict=True)
    moments = table.timestamps.values().tolist() or [None] * table.n_ratings
    return [(*pair, rating, moment) for pair, rating, moment in
            zip(ids, table.ratings.values().tolist(), moments, strict=True)], table  # fmt: skip


@pytest.mark.parametrize("line", ["\x1e{}\n", "{{'user': 'u{0}', 'item': 'i{1}'}}\n"])
def test_what_is_nearly_json_lines_is_not_split_at_commas(tmp_path, line):
    rows = [line.format(n, n % 5) if "user" in line else line.format(json.dumps(RATED[n])) for n in range(35)]
    with pytest.raises(InputDataError, match=r"line 1: not a JSON object; .* double quotes"):
        read(tmp_path / "r.txt", "".join(rows).encode())


def test_likes_are_not_taken_for_interactions(tmp_path):
    rows = [{"user": n % 7, "item": n % 5, "recommended": n % 2 == 0} for n in range(35)]
    with pytest.raises(InputDataError, match=r"'recommended' could hold ratings, but 'true' is not .*rating=none"):
        read(tmp_path / "r.jsonl", lines(rows))


@pytest.mark.parametrize("name", ["r.jsonl", "r.ndjson", "r.unknown", "r.jsonl.gz", "r.ndjson.zst"])
def test_objects_are_rows(tmp_path, name):
    pack = {"gz": gzip.compress, "st": zstd.compress}.get(name[-2:], bytes)
    found, table = read(tmp_path / name, pack(lines(RATED)))
    assert found == TUPLES
    assert table.sources[0].layout.delimiter_name() == "jsonl"
    assert table.sources[0].layout.column_choices() == {role: role for role in ("user", "item", "rating", "timestamp")}


def test_keys_may_be_known_names_in_any_order_and_asked_for(tmp_path):
    rows = [
        {"text": "x", "asin": row["item"], "overall": row["rating"], "reviewerID": str(row["user"])} for row in RATED
    ]
    assert [row[:3] for row in read(tmp_path / "r", lines(rows))[0]] == [row[:3] for row in TUPLES]
    mixed = [dict(reversed(row.items())) if n % 2 else row for n, row in enumerate(RATED)]
    assert read(tmp_path / "r", lines(mixed))[0] == TUPLES
    found, _ = read(tmp_path / "r", lines(RATED), columns={"user": "item", "item": "user", "rating": "3"})
    assert found[1][:3] == ("i1", "1", 0.5)


def test_stdin_and_utf_16_are_recognized(tmp_path):
    result = run("prepare", "-", "-o", "d", "--format", "json", cwd=tmp_path, stdin=lines(RATED))
    assert result.status == 0, result.stderr
    assert json.loads(result.stdout)["n_ratings"] == 35
    assert json.loads((tmp_path / "d" / "dataset.json").read_text())["sources"][0]["delimiter"] == "jsonl"
    assert read(tmp_path / "r", lines(RATED).decode().encode("utf-16"))[0] == TUPLES


def test_nested_and_ragged_objects_do_not_matter(tmp_path):
    extra = [{"tags": [1, {"a": 2}]}, {"meta": {"user": 9}, "tags": []}, {}, {"note": None}, {"meta": "now a text"}]
    rows = [{**extra[n % 5], **row, **extra[(n + 2) % 5]} for n, row in enumerate(RATED)]
    assert read(tmp_path / "r", b"\n  \n" + lines(rows).replace(b"\n", b" \r\n\n"))[0] == TUPLES


def test_numbers_are_ids_and_texts_are_ratings(tmp_path):
    content = (
        b'{"user":9007199254740993,"item":1.0,"rating":"4.5"}\n{"user":18446744073709551617,"item":2,"rating":"3"}\n'
        b'{"user":"007","item":2.5,"rating":" 1 "}\n{"user":-3,"item":1e2,"rating":2}\n'
        b'{"user":"[red]","item":"true","rating":3}\n'
    )
    found, _ = read(tmp_path / "r", content)
    assert [row[:3] for row in found] == [
        ("9007199254740993", "1", 4.5),
        ("18446744073709551617", "2", 3.0),
        ("007", "2.5", 1.0),
        ("-3", "100", 2.0),
        ("[red]", "true", 3.0),
    ]
    dated = [{**row, "timestamp": "1970-01-02T00:00:00Z"} for row in RATED]
    assert {row[3] for row in read(tmp_path / "r", lines(dated))[0]} == {86400}


BAD = {
    '{"user":1,"item":"x"}': "column rating: the field is missing",
    '{"user":null,"item":"x","rating":1}': "column user: the field is missing",
    '{"user":NaN,"item":"x","rating":1}': "column user: the field is missing",
    '{"user":"","item":"x","rating":1}': "column user: the field is missing",
    '{"user":true,"item":"x","rating":1}': "column user: true cannot be an id",
    '{"user":1,"item":{"id":3},"rating":1}': "column item: an object cannot be an id",
    '{"user":1,"item":"x","rating":[3]}': "column rating: an array cannot be a rating",
    '{"user":1,"item":"x","rating":"good"}': "column rating: 'good' is not a number",
    '{"user":1,"item":"x","rating":1e300}': "is not a finite number",
    '{"user":1,"item":"x","rating":1,"timestamp":"noon"}': "column timestamp: 'noon'",
    '{"user":1,"item":"x",': "is not JSON",
    "1,x,3": "is not JSON",
    "[1, 2, 3]": "is not a JSON object",
    '{"user":1,"item":"x","rating":1} {"user":1,"item":"x","rating":1}': "is not JSON",
    '{"a":' * 5000: "is not JSON",
    '{"user":%s,"item":"x","rating":[]}' % ("9" * 5000): "column rating: an array",
}


@pytest.mark.parametrize(("line", "message"), BAD.items(), ids=range(len(BAD)))
@pytest.mark.parametrize("place", [3, 3000])
def test_a_bad_line_is_named_or_skipped(tmp_path, line, message, place):
    rows = [{**row, "timestamp": row["timestamp"]} for row in RATED * 100]
    content = lines(rows[:place]) + line.encode() + b"\n" + lines(rows[place:])
    if "timestamp" not in line and line.startswith('{"user":1,"item":"x","rating":'):
        content = content.replace(b', "timestamp"', b', "unused"')
    with pytest.raises(InputDataError) as raised:
        read(tmp_path / "r.jsonl", content)
    assert f"r.jsonl, line {place + 1}, " in str(raised.value)
    assert message in str(raised.value)
    assert len(str(raised.value)) < 500
    found, table = read(tmp_path / "r.jsonl", skip_bad_rows=True)
    assert (table.n_ratings, table.n_skipped) == (3500, 1)
    assert [row[:3] for row in found] == [row[:3] for row in TUPLES] * 100


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"user":1,"item":2,"rating":3}]', "one JSON array.*jq"),
        (b"[\n  {", "one JSON array"),
        (b"{", "line 1"),
        (b"{}\n{}\n", "JSON object"),
        (b'{"user":[1],"item":2,"rating":3}\n', r"user \(user\) holds arrays"),
        (b'{"a":"x","b":"y","c":"z"}\n', "rating"),
        (b'{"user":1,"item":"\xff","rating":3}\n' * 3, "UTF-8"),
    ],
)
def test_json_without_ratings_is_refused(tmp_path, content, message):
    with pytest.raises(InputDataError, match=message):
        read(tmp_path / "r", content)


def test_long_lines_and_a_missing_end_of_line_are_whole_rows(tmp_path):
    rows = [{"review": "long " * 30_000, **row} for row in RATED]
    assert read(tmp_path / "r", lines(rows)[:-1])[0] == TUPLES


def test_good_blocks_are_not_read_in_python(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines, "examine_lines", None)
    assert len(read(tmp_path / "r", lines(RATED * 3000))[0]) == 35 * 3000
    dated = [{**row, "rating": str(row["rating"]), "timestamp": "1970-01-02"} for row in RATED]
    assert len(read(tmp_path / "r", lines(dated * 300))[0]) == 35 * 300


def test_long_names_of_columns_are_cut_in_messages(tmp_path):
    """A fuzzed file had a name of 13,000 characters, which the message repeated."""
    name = "rating" + "A" * 13_000
    rows = [json.dumps({"user": "u1", "item": f"i{number}", name: 4}) for number in range(3)]
    content = "\n".join([*rows, json.dumps({"user": "u1", "item": "i9", name: "much"})]).encode()
    with pytest.raises(InputDataError, match=r"line 4, column rating.*13,006 characters") as caught:
        read(tmp_path / "r.jsonl", content, columns={"rating": name})
    assert len(str(caught.value)) < 500
