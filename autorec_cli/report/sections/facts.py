"""Facts of models and of their dataset."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from autorec_cli.inference.blending import Blend
from autorec_cli.inference.joint import JointModel
from autorec_cli.inference.model import Model
from autorec_cli.inference.scorer import Scorer
from autorec_cli.report.contents import Cell, Section, Table
from autorec_cli.report.sections.metrics import label_of
from autorec_cli.report.subject import Subject
from autorec_cli.report.text import NOTHING, shown

SHOWN_OF_HASH = 12
MOST_SOURCES = 5


def facts_section(subject: Subject) -> Section:
    """Tables of the dataset and of the models."""
    return Section(
        "training",
        "What was trained on what",
        tables=[_dataset_table(subject), _models_table(subject), *_network_tables(subject)],
    )


def _dataset_table(subject: Subject) -> Table:
    dataset = subject.dataset
    info, low, high = dataset.info, *dataset.rating_scale
    split, n_ratings = info.get("split", {}), sum(dataset.split(name).nnz for name in ("train", "valid", "test"))
    rows: dict[str, Cell] = {
        **_sources(info.get("sources", ())),
        "time of the ratings (UTC)": _time_range(info.get("time_range")),
        "feedback": info.get("feedback", "ratings"),
        "users": dataset.n_users,
        "items": dataset.n_items,
        "ratings": n_ratings,
        "of all cells rated": f"{100 * n_ratings / (dataset.n_users * dataset.n_items):.3g}%",
        "training / validation / test": " / ".join(f"{dataset.split(n).nnz:,}" for n in ("train", "valid", "test")),
        "split": _split_text(split),
        "rating scale": None if subject.are_interactions else f"{low:g} to {high:g}",
        "mean rating": None if subject.are_interactions else float(dataset.train.data.mean(dtype="f8")),
        "fingerprint": dataset.fingerprint()[:SHOWN_OF_HASH],
    }
    return Table("Dataset", ("", ""), [(name, shown(value)) for name, value in rows.items() if value is not None])


def _sources(sources: Any) -> dict[str, Cell]:  # noqa: ANN401
    rows: dict[str, Cell] = {
        f"source {number}": f"{source['path']} ({source['n_ratings']:,} ratings)"
        for number, source in enumerate(sources[:MOST_SOURCES], 1)
    }
    if len(sources) > MOST_SOURCES:
        rows["more sources"] = len(sources) - MOST_SOURCES
    return rows


def _time_range(ends: list[float] | None) -> str | None:
    if ends is None:
        return None
    try:
        return " to ".join(f"{datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M}" for end in ends)
    except (OverflowError, OSError, ValueError):  # beyond the calendar
        return " to ".join(f"{end:g}" for end in ends)


def _split_text(split: Mapping[str, Any]) -> str:
    text = str(split.get("strategy", "unknown"))
    if split.get("test_given"):
        return f"{text}, with a test set from a file"
    return f"{text}, seed {split['seed']}" if "seed" in split and text != "stable" else text


def _models_table(subject: Subject) -> Table:
    columns, facts = [""], []
    for name, model in subject.all_models:
        columns.append(f"{name} (older)" if subject.older and model is subject.older.model else name)
        facts.append(_model_facts(model))
    names = dict.fromkeys(name for each in facts for name in each)
    return Table("Models", columns, [(name, *(shown(each.get(name)) for each in facts)) for name in names])


def _model_facts(model: Scorer) -> dict[str, Cell]:
    provenance = model.provenance
    fitted = {"train": "training", "valid": "validation"}
    return {
        "model": kind_of(model),
        "fitted on": " and ".join(fitted[name] for name in provenance["fitted_parts"]) + " set",
        "started from": "an older model" if provenance.get("warm_start") else "random parameters",
        "dataset": provenance.get("dataset") or "in memory",
        **{
            f"validation {label_of(name.removeprefix('valid_'))}": value
            for name, value in provenance.get("metrics", {}).items()
        },
        **{f"version of {name}": version for name, version in provenance.get("versions", {}).items()},
    }


def kind_of(model: Scorer) -> str:
    """Kind of a model in words."""
    if isinstance(model, JointModel):
        return f"{kind_of(model.rater)}, and a ranking network ({model.ranker.settings.variant} variant)"
    if isinstance(model, Blend):
        return f"blend of {len(model.models)} rating networks"
    assert isinstance(model, Model)
    return f"{model.settings.objective} network ({model.settings.variant} variant)"


def _network_tables(subject: Subject) -> list[Table]:
    """Hyperparameters of every network, a column each."""
    columns, documents = [""], []
    for name, model in subject.all_models:
        for network, weight in zip(model.networks, model.weights, strict=True):
            settings = network.settings.to_document()
            before = f"{name}: " if len(subject.all_models) > 1 else ""
            columns.append(f"{before}{settings['objective']}, {settings['variant']}")
            documents.append({"weight": weight, "epochs": network.provenance.get("epochs"), **settings})
    names = dict.fromkeys(name for document in documents for name in document if name not in ("objective", "variant"))
    rows = [(name.replace("_", " "), *(_setting(document.get(name)) for document in documents)) for name in names]
    return [Table("Networks", columns, rows)]


def _setting(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return NOTHING if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
