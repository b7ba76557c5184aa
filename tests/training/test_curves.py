"""Learning curves that are kept with a model."""

from autorec_cli.inference.files import model_file
from autorec_cli.training.curves import learning_curves
from autorec_cli.training.fit import fit
from autorec_cli.training.settings import TrainSettings
from tests.planted import planted_dataset

TINY = TrainSettings(variant="item", hidden_sizes=(4,), epochs=3, patience=0)


def test_every_phase_of_every_network_has_a_curve():
    fitting = fit(planted_dataset(), TINY, device="cpu", threads=1)
    records = [result.to_record() for result in fitting]
    curves = fitting.model.provenance["curves"]
    assert [(curve["objective"], curve["phase"], curve["metric"]) for curve in curves] == [
        ("rating", "selection", "rmse"),
        ("rating", "refit", "rmse"),
        ("ranking", "selection", "ndcg@10"),
        ("ranking", "refit", "ndcg@10"),
    ]
    assert sum(len(curve["train"]) for curve in curves) == len(records)
    assert [len(curve["valid"]) for curve in curves] == [3, 0, 3, 0]
    assert curves[0]["valid"][0] == float(f"{records[0]['valid_rmse']:.6g}")
    assert curves == learning_curves(records)


def test_a_model_file_has_them(both_model):
    curves = model_file.load_model(both_model).provenance["curves"]
    assert {curve["objective"] for curve in curves} == {"rating", "ranking"}
