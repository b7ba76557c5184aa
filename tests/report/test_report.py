"""Reports on all kinds of models, as pages."""

import dataclasses
import pickle

import numpy as np
import polars as pl
import pytest

from autorec_cli.errors import InputDataError, UsageError
from autorec_cli.evaluation.evaluate import evaluate
from autorec_cli.evaluation.measurement import EvaluateSettings
from autorec_cli.inference.joint import JointModel
from autorec_cli.report import report as reports
from autorec_cli.report.drawing import draw
from autorec_cli.report.page import to_html
from autorec_cli.report.report import make_report
from autorec_cli.report.subject import ReportSettings, Subject
from autorec_cli.training.curves import learning_curves
from autorec_cli.training.export import to_model
from tests.planted import matrix_of, planted_dataset
from tests.report.pages import checked
from tests.trained import PROVENANCE, blend_of, run, small_settings

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

DATASET = planted_dataset(titles=True)
BASELINES = {"user+item bias", "popularity", "EASE"}
RATED = {"Error by item popularity", "Error by user activity", "Error by rating", "Calibration", "Residuals", "RMSE"}
RANKED = {"Coverage: Lorenz curve", "Popularity of what is recommended", "nDCG@10 by user activity", "nDCG@10"}


def trained(dataset, variant, **given):
    """A model with its learning curves."""
    settings = small_settings(variant, epochs=4, **given)
    results, fitted = run(dataset, settings)
    curves = learning_curves(result.to_record() for result in results)
    provenance = {**PROVENANCE, "fitted_parts": list(fitted.fitted_parts), "epochs": fitted.epochs, "curves": curves}
    return to_model(fitted, dataset, settings, {**provenance, "fingerprint": dataset.fingerprint()})


@pytest.fixture(scope="module")
def models():
    item, user = (trained(DATASET, variant) for variant in ("item", "user"))
    ranking = trained(DATASET, "user", objective="ranking")
    blend = blend_of([item, user], (0.4, 0.6))
    joint = JointModel(blend, ranking, {**ranking.provenance, "curves": item.provenance["curves"]})
    return {"item": item, "user": user, "ranking": ranking, "blend": blend, "joint": joint}


def report_of(models, dataset=DATASET, **settings):
    return make_report(Subject(list(models.items()), dataset, ReportSettings(**settings)))


def page_of(*given, **settings):
    return checked(to_html(report_of(*given, **settings)))


@pytest.mark.parametrize(
    ("values", "warns"), [([1.0, 0.9, 0.8], True), ([1.0, 0.8, 0.7999], False), ([0.9, 0.8, 0.9], False)]
)
def test_only_a_last_epoch_that_gains_much_is_told(models, values, warns):
    curve = {"variant": "item", "metric": "rmse", "phase": "selection", "train": [], "valid": values}
    curved = dataclasses.replace(models["item"], provenance={**models["item"].provenance, "curves": [curve]})
    told = report_of({"m": curved}).warnings
    assert any("--epochs" in sentence for sentence in told) == warns


def titles_of(page):
    return {figure.title for figure in page.figures}


@pytest.mark.parametrize("kind", ["item", "user", "ranking", "blend", "joint"])
def test_every_kind_of_model_has_a_page(models, kind):
    page = page_of({f"{kind}.model": models[kind]})
    curves = {"nDCG@10 by epoch" if kind == "ranking" else "RMSE by epoch"}
    assert titles_of(page) == curves | RANKED | (set() if kind == "ranking" else RATED)
    for figure in page.figures:
        assert f"{kind}.model" in figure.in_picture or "epoch" in figure.title
        labels = {cell for row in figure.rows for cell in row}
        assert any(label in figure.in_picture for label in labels)
    for heading in ("What was trained on what", "Learning curves", "Users and their recommendations"):
        assert heading in page.text
    assert "Title " in page.text


def test_metrics_are_those_of_evaluate(models):
    report = report_of({"a": models["item"], "b": models["joint"]})
    rows = evaluate({"a": models["item"], "b": models["joint"]}, DATASET)
    (section,) = [section for section in report.sections if section.key == "metrics"]
    ratings, rankings = section.tables
    assert [row[0] for row in ratings.rows] == [row["model"] for row in rows if "rmse" in row]
    assert [row[1] for row in ratings.rows] == [row["rmse"] for row in rows if "rmse" in row]
    assert [row[1] for row in rankings.rows] == [row["ndcg@10"] for row in rows if "ndcg@10" in row]
    rmse, ndcg = (chart.series[0] for chart in section.charts)
    assert list(rmse.y) == [row["rmse"] for row in rows if "rmse" in row]
    high = [row["rmse_high"] - row["rmse"] for row in rows if "rmse" in row]
    np.testing.assert_allclose(rmse.margins, high)
    np.testing.assert_allclose(ndcg.y, [row["ndcg@10"] for row in rows if "ndcg@10" in row])


def chart(report, key):
    return next(chart for section in report.sections for chart in section.charts if chart.key == key)


def test_figures_of_errors_add_up_to_the_whole(models):
    report = report_of({"m": models["item"]})
    residuals = chart(report, "residuals").series[0]
    assert sum(residuals.y) == pytest.approx(100)
    errors = DATASET.test.data - models["item"].predict_pairs(*DATASET.test.nonzero())
    assert np.average(residuals.x, weights=residuals.y) == pytest.approx(errors.mean(), abs=0.1)
    by_rating = chart(report, "error-rating").series[0]
    for rating, value in zip(by_rating.x, by_rating.y, strict=True):
        of_rating = errors[DATASET.test.data == float(rating)]
        assert value == pytest.approx(np.sqrt(np.mean(of_rating**2)))
    shares = chart(report, "recommended-popularity").series
    assert [sum(one.y) for one in shares] == pytest.approx([100] * len(shares))
    lorenz = chart(report, "lorenz").series[0]
    assert (lorenz.x[0], lorenz.y[0], lorenz.x[-1], lorenz.y[-1]) == (0, 0, 100, 100)


def test_several_models_are_side_by_side_and_told_apart_without_color(models):
    page = page_of({f"{kind}.model": models[kind] for kind in ("item", "user", "ranking", "joint")})
    lorenz = next(figure for figure in page.figures if "Lorenz" in figure.title)
    for kind in ("item", "user", "ranking", "joint"):
        assert f"{kind}.model (Gini" in lorenz.in_picture
    svg = page.html.split("<figure")[2]
    assert "stroke-dasharray" in page.html
    assert svg.count("<svg") == 1
    with pytest.raises(UsageError, match="at most"):
        report_of({str(number): models["item"] for number in range(5)})


def test_an_older_model_is_compared_on_what_neither_has_seen(models):
    older = trained(planted_dataset(n_users=60, n_items=45, seed=3), "item")
    subject = Subject([("new", models["joint"])], DATASET, ReportSettings()).against("old", older)
    report = make_report(subject)
    (section,) = [section for section in report.sections if section.key == "older"]
    assert [row[1] for row in section.tables[0].rows] == ["RMSE", "MAE", "nDCG@10", "recall@10"]
    assert {row[-1] for row in section.tables[0].rows} <= {"better", "worse", "no clear difference"}
    assert "%" in section.notes[0]
    assert subject.held_out.nnz < DATASET.test.nnz
    checked(to_html(report))


def test_interactions_have_rankings_only():
    rng = np.random.default_rng(0)
    cells = {(int(u), int(i)): 1.0 for u, i in zip(*np.nonzero(rng.random((60, 40)) < 0.4), strict=True)}
    labels = rng.choice(3, len(cells), p=[0.6, 0.2, 0.2])
    parts = {
        name: matrix_of({c: 1.0 for c, label in zip(cells, labels, strict=True) if label == number}, (60, 40))
        for number, name in enumerate(("train", "valid", "test"))
    }
    tables = {
        "users": pl.DataFrame({"id": [f"u{u}" for u in range(60)]}),
        "items": pl.DataFrame({"id": [f"i{i}" for i in range(40)]}),
    }
    info = {"feedback": "interactions", "split": {"strategy": "random"}}
    dataset = dataclasses.replace(DATASET, **parts, **tables, rating_scale=(0.0, 1.0), info=info)
    model = trained(dataset, "user", objective="ranking")
    page = page_of({"m": model}, dataset)
    assert titles_of(page) == RANKED | {"nDCG@10 by epoch"}
    assert "mean rating" not in page.text


HOSTILE = "<script>alert(1)</script>\"'&\x1b[31m\u202e$x^2$"


def test_hostile_titles_ids_and_names_are_text(models):
    n_items, n_users = DATASET.n_items, DATASET.n_users
    items = pl.DataFrame({"id": [f"{HOSTILE}{n}" for n in range(n_items)]})
    items = items.with_columns(title=pl.Series([f"{HOSTILE} {n} " + "long" * 5000 for n in range(n_items)]))
    users = pl.DataFrame({"id": [f"{HOSTILE}{n}" for n in range(n_users)]})
    dataset = dataclasses.replace(DATASET, items=items, users=users)
    model = models["item"].aligned(DATASET.users["id"].to_list(), DATASET.items["id"].to_list())
    catalog = dataclasses.replace(model.catalog, user_ids=users["id"].to_list(), item_ids=items["id"].to_list())
    model = dataclasses.replace(model, catalog=catalog)
    page = page_of({f"_{HOSTILE}": model, "$\\frac": model}, dataset)
    assert "<script>alert(1)</script>" in page.text
    assert "$x^2$" in page.text
    assert not {"\x1b", "\u202e"} & set(page.html)
    assert all(f"_{HOSTILE[:20]}" in figure.in_picture for figure in page.figures if "Error" in figure.title)


@pytest.fixture(scope="module")
def drawn():
    """Pictures of charts by what they show."""
    return {}


@pytest.mark.parametrize("letter", ['"', "&", "\N{CLAPPER BOARD}", "\u202e", "日", "w"])
def test_long_titles_keep_the_page_small(models, drawn, monkeypatch, letter):
    """Charts are drawn anew only if a title changes them, as that takes longer than all else."""

    def draw_once(chart):
        shown = pickle.dumps(chart)
        if shown not in drawn:
            drawn[shown] = draw(chart)
        return drawn[shown]

    monkeypatch.setattr("autorec_cli.report.page.draw", draw_once)
    items = DATASET.items.with_columns(title=pl.format("{} {}", "id", pl.lit(1000 * letter)))
    dataset = dataclasses.replace(DATASET, items=items)
    four = {kind: models[kind] for kind in ("item", "user", "ranking", "joint")}
    page = page_of(four, dataset)  # checks the size
    assert "i7 " in page.text
    assert "…" in page.text


def test_without_held_out_ratings_the_rest_is_shown(models):
    dataset = dataclasses.replace(DATASET, test=matrix_of({}, DATASET.train.shape))
    report = report_of({"m": models["joint"]}, dataset)
    assert "test set" in report.warnings[0]
    page = checked(to_html(report))
    assert titles_of(page) == {"RMSE by epoch"}
    assert "Users and their recommendations" in page.text


def test_models_of_older_versions_have_no_curves(models):
    provenance = {name: value for name, value in models["item"].provenance.items() if name != "curves"}
    report = report_of({"old.model": dataclasses.replace(models["item"], provenance=provenance)})
    (section,) = [section for section in report.sections if section.key == "curves"]
    assert "old.model" in section.notes[0]
    assert not section.charts


def test_users_are_shown_as_named(models):
    report = report_of({"m": models["joint"]}, user_ids=["u7", "u3", "u7"])
    (section,) = [section for section in report.sections if section.key == "users"]
    assert [table.title.split(":")[0] for table in section.tables[::2]] == ["User u7", "User u3"]
    rated = {f"Title {item}" for item in DATASET.train[[7]].indices} | {
        f"Title {item}" for item in DATASET.valid[[7]].indices
    }
    history, recommended = section.tables[:2]
    assert {row[0] for row in history.rows} <= rated
    assert not {row[0] for row in recommended.rows} & rated
    ratings = [float(row[1]) for row in history.rows]
    assert ratings == sorted(ratings, reverse=True)
    with pytest.raises(InputDataError, match="nobody"):
        report_of({"m": models["joint"]}, user_ids=["nobody"])


def test_ten_users_are_chosen_by_activity(models):
    report = report_of({"m": models["item"]})
    (section,) = [section for section in report.sections if section.key == "users"]
    counts = [int(table.title.split(": ")[1].split()[0]) for table in section.tables[::2]]
    assert len(counts) == 10
    assert counts == sorted(counts)


def test_warnings_say_what_evaluate_says(models):
    warnings = report_of({"m": models["item"]}, evaluate=EvaluateSettings("valid")).warnings
    assert any("training errors" in warning for warning in warnings)
    bad = dataclasses.replace(models["item"], decoder_bias=models["item"].decoder_bias + 9)
    warnings = report_of({"bad.model": bad}).warnings
    assert any("bad.model predicts worse than the bias baseline" in warning for warning in warnings)


def test_equal_models_give_equal_pages_but_for_the_time(models, monkeypatch):
    first, second = (report_of({"m": models["joint"]}) for _ in range(2))
    assert to_html(first) == to_html(dataclasses.replace(second, written=first.written))


def test_missing_packages_are_named(monkeypatch):
    assert reports.missing_packages() == []
    monkeypatch.setattr(reports, "find_spec", lambda name: None)
    assert reports.missing_packages() == ["matplotlib", "jinja2"]


def test_a_network_without_validation_has_no_curve(models):
    curves = [{**curve, "phase": "fit", "valid": []} for curve in models["ranking"].provenance["curves"]]
    model = dataclasses.replace(models["ranking"], provenance={**models["ranking"].provenance, "curves": curves})
    assert titles_of(page_of({"m": model})) == RANKED


def test_measurements_that_were_taken_before_are_not_taken_again(models, monkeypatch):
    subject = Subject([("item", models["item"])], DATASET, ReportSettings())
    metrics = make_report(subject).sections[0]
    monkeypatch.setattr("autorec_cli.report.subject.measure", None)
    assert make_report(dataclasses.replace(subject, known=subject.measured)).sections[0] == metrics
