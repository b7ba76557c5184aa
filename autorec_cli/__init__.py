"""Recommender made from ratings, with AutoRec.

Sedhain et al., WWW 2015. docs/api.md shows how to use it.
"""

import os
import signal
import sys

if sys.platform == "win32":
    _ADVICE = "autorec runs on Linux and macOS; on Windows, install it in WSL (`wsl --install` in a terminal)"
    if "".join(sys.argv[:1]).replace("\\", "/").rpartition("/")[2].removesuffix(".exe") in ("autorec", "-m"):
        sys.stderr.write(f"error: {_ADVICE}\n")
        sys.exit(2)
    raise ImportError(_ADVICE)

# Until `cli.main` takes over, Ctrl-C would print a traceback of imports. As a library we touch no signals.
if (
    sys.argv[:1]
    and (
        sys.argv[0].rpartition("/")[2] == "autorec"
        or (sys.argv[0] == "-m" and sys.orig_argv[-len(sys.argv) :][:1] == [__name__])
    )
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import logging
from importlib import import_module
from typing import TYPE_CHECKING

from autorec_cli import errors as errors

if TYPE_CHECKING:
    from autorec_cli.config import Hyperparameters as Hyperparameters
    from autorec_cli.data.builder.encoded_ratings import EncodedRatings as EncodedRatings
    from autorec_cli.data.dataset import Dataset as Dataset
    from autorec_cli.data.dataset import load_dataset as load_dataset
    from autorec_cli.data.dataset import save_dataset as save_dataset
    from autorec_cli.data.preparation import PrepareSettings as PrepareSettings
    from autorec_cli.data.preparation import prepare as prepare
    from autorec_cli.data.readers.options import Period as Period
    from autorec_cli.data.readers.options import ReadOptions as ReadOptions
    from autorec_cli.data.readers.tables.database import DatabaseQuery as DatabaseQuery
    from autorec_cli.data.splits.splitting import SplitSettings as SplitSettings
    from autorec_cli.errors import AutoRecError as AutoRecError
    from autorec_cli.evaluation.evaluate import evaluate as evaluate
    from autorec_cli.evaluation.measurement import EvaluateSettings as EvaluateSettings
    from autorec_cli.inference.blending import Blend as Blend
    from autorec_cli.inference.export.onnx_graph import to_onnx as to_onnx
    from autorec_cli.inference.export.vectors import vectors as vectors
    from autorec_cli.inference.files.model_file import load_model as load_model
    from autorec_cli.inference.files.model_file import save_model as save_model
    from autorec_cli.inference.model import Model as Model
    from autorec_cli.inference.prediction.batches import PredictSettings as PredictSettings
    from autorec_cli.inference.prediction.batches import predict_batches as predict_batches
    from autorec_cli.inference.prediction.predict import predict as predict
    from autorec_cli.inference.ranking.settings import RecommendSettings as RecommendSettings
    from autorec_cli.inference.recommender import recommend as recommend
    from autorec_cli.inference.recommender import recommend_batches as recommend_batches
    from autorec_cli.inference.scorer import Scorer as Scorer
    from autorec_cli.inference.similarity import SimilarSettings as SimilarSettings
    from autorec_cli.inference.similarity import similar as similar
    from autorec_cli.inference.similarity import similar_batches as similar_batches
    from autorec_cli.training.fit import Fit as Fit
    from autorec_cli.training.fit import fit as fit
    from autorec_cli.training.fit import train as train
    from autorec_cli.training.loop.epoch_result import EpochResult as EpochResult
    from autorec_cli.training.settings import TrainSettings as TrainSettings

__version__ = "0.2.0"

_MODULES = {
    "prepare": "data.preparation",
    "PrepareSettings": "data.preparation",
    "DatabaseQuery": "data.readers.tables.database",
    "EncodedRatings": "data.builder.encoded_ratings",
    "ReadOptions": "data.readers.options",
    "Period": "data.readers.options",
    "SplitSettings": "data.splits.splitting",
    "Dataset": "data.dataset",
    "save_dataset": "data.dataset",
    "load_dataset": "data.dataset",
    "train": "training.fit",
    "fit": "training.fit",
    "Fit": "training.fit",
    "EpochResult": "training.loop.epoch_result",
    "TrainSettings": "training.settings",
    "Hyperparameters": "config",
    "Model": "inference.model",
    "Blend": "inference.blending",
    "Scorer": "inference.scorer",
    "save_model": "inference.files.model_file",
    "load_model": "inference.files.model_file",
    "evaluate": "evaluation.evaluate",
    "EvaluateSettings": "evaluation.measurement",
    "recommend": "inference.recommender",
    "recommend_batches": "inference.recommender",
    "RecommendSettings": "inference.ranking.settings",
    "similar": "inference.similarity",
    "similar_batches": "inference.similarity",
    "SimilarSettings": "inference.similarity",
    "predict": "inference.prediction.predict",
    "predict_batches": "inference.prediction.batches",
    "PredictSettings": "inference.prediction.batches",
    "vectors": "inference.export.vectors",
    "to_onnx": "inference.export.onnx_graph",
    "AutoRecError": "errors",
}
"""Modules of the public names, each imported when one of its names is first used."""

__all__ = ["__version__", "errors", *_MODULES]

# Read once, when torch and numpy are loaded, wherever that is. Threads that wait for each other must not spin: beside
# another busy process that costs a factor of ten, and after a product of numpy a tenth of an epoch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # spins for 2^4 cycles, and not 2^26

# Silent as a library; the command line, or whoever calls us, adds a handler that shows the log.
logging.getLogger(__name__).addHandler(logging.NullHandler())


if not TYPE_CHECKING:  # or a misspelled name would be an object

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
