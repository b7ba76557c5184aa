"""Columns that are found by name, or refused with a suggestion."""

import shlex

import pytest

import autorec_cli as autorec
from autorec_cli.errors import InputDataError
from tests.program import call


@pytest.mark.parametrize("name", ["top.csv", "top.tsv", "top.jsonl", "top.parquet", "pairs.csv"])
def test_what_recommend_and_predict_wrote_is_no_ratings(workshop, item_model, tmp_path, name):
    output = tmp_path / name
    if name == "pairs.csv":
        (tmp_path / "new.csv").write_text("user,item\n001,00002\n002,00003\n")
        call("predict", item_model, tmp_path / "new.csv", "-o", output)
    else:
        call("recommend", item_model, "-k", 3, "-o", output)
    for command in (("prepare", output, "--dry-run"), ("evaluate", item_model, "--test-file", output)):
        result = call(*command)
        assert result.status == 3
        assert f"{output} holds predictions of a model, not ratings" in result.stderr
    again = call("predict", item_model, output, "--format", "csv")
    assert again.stdout.startswith("user_id,item_id,predicted_rating,basis\n")
    assert "rating=none" in again.stderr


def test_what_predict_wrote_of_ratings_keeps_them(workshop, item_model, tmp_path):
    call("predict", item_model, workshop / "ratings.csv", "-o", tmp_path / "rated.csv")
    result = call("prepare", tmp_path / "rated.csv", "--dry-run")
    assert "rating=rating" in result.stderr


def test_predictions_are_ratings_if_named(item_model, tmp_path):
    call("recommend", item_model, "-k", 3, "-o", tmp_path / "top.csv")
    assert autorec.prepare(
        tmp_path / "top.csv", autorec.PrepareSettings(read=autorec.ReadOptions(columns={"rating": "score"}))
    ).n_users
    with pytest.raises(InputDataError, match="holds predictions"):
        autorec.prepare(autorec.recommend(autorec.load_model(item_model)))


def test_of_several_columns_that_could_be_ratings_none_is_suggested(tmp_path):
    rows = [f"{100 + row % 40};{900 + row % 31};{row % 10 / 2 + 0.5};17.01.2018;{row % 7}\n" for row in range(200)]
    (tmp_path / "shop.csv").write_text("Kundennummer;Artikel Nr.;Sterne;gekauft am;Filiale\n" + "".join(rows))
    with pytest.raises(InputDataError) as refused:
        autorec.prepare(tmp_path / "shop.csv")
    assert "it could be column 3 'Sterne' (0.5 to 5) or column 5 'Filiale' (0 to 6)" in str(refused.value)
    suggested = str(refused.value).partition("--columns ")[2]
    assert suggested == "'user=Kundennummer,item=Artikel Nr.,rating=COLUMN'"
    result = call("prepare", tmp_path / "shop.csv", "--dry-run", "--columns", suggested.strip("'"))
    assert result.status == 3
    assert "has no column 'COLUMN' for --columns rating=" in result.stderr


@pytest.mark.parametrize(
    ("written", "suggested"),
    [
        ("{month:02}/{day:02}/2018", "--date-format %m/%d/%Y"),
        ("{day}.{month}.2018 10:{day:02}", "--date-format '%d.%m.%Y %H:%M'"),
        ("{day}/5/2018", "--date-format %d/%m/%Y"),
        ("{month:02}/{day:02}/78", "--date-format %m/%d/%y"),
        ("5/5/2018", "--date-format %m/%d/%Y or --date-format %d/%m/%Y"),
        ("Mar {day:02}, 2018", "--date-format '%B %d, %Y'"),
        ("{day:02}:{month:02}", ""),
    ],
)
def test_dates_of_another_format_are_explained(tmp_path, written, suggested):
    rows = (
        f"{row % 9}|{row % 7}|{row % 5}|{written}\n".format(day=row % 28 + 1, month=row % 12 + 1) for row in range(60)
    )
    (tmp_path / "r.csv").write_text("user|item|stars|when\n" + "".join(rows))
    result = call("prepare", tmp_path / "r.csv", "--dry-run", "--explain")
    line = next(line for line in result.stderr.splitlines() if "'when'" in line)
    advice = f"; it looks like dates: read them as timestamps with {suggested}" if suggested else "rating score 0 of 4"
    assert line.endswith(advice)
    if suggested.count("--") == 1:
        result = call("prepare", tmp_path / "r.csv", "--dry-run", *shlex.split(suggested))
        assert "timestamp=when" in result.stderr
