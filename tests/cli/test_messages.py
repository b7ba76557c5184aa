# ruff: noqa: E501 - whole sentences on one line
"""Whole sentences that users see, in one table; other tests assert only the option, file or value that they name."""

import pytest

from tests.program import call

UNDER_TORCHRUN = {"TORCHELASTIC_RUN_ID": "t", "WORLD_SIZE": "2", "RANK": "1"}

SENTENCES = [
    ("recommend m --usr 1", {}, "No such option: --usr (Possible options: --shard, --user, --users); try `autorec recommend --help`"),
    ("recomend", {}, "No such command 'recomend'. Did you mean 'recommend'?; try `autorec --help`"),
    ("train", {}, "Missing argument 'DATA'; try `autorec train --help`"),
    ("train d -o m --epochs three", {}, "--epochs must be a whole number, not 'three'; try `autorec train --help`"),
    ("train d -o m --learning-rate abc", {}, "--learning-rate must be a number, not 'abc'; try `autorec train --help`"),
    ("train d -o m --variant itme", {}, "--variant must be one of auto, item, user, both, not 'itme'; try `autorec train --help`"),
    ("train d -o m", {"AUTOREC_TRAIN_REFIT": "x"}, "--refit must be true or false, not 'x' (set by AUTOREC_TRAIN_REFIT); try `autorec train --help`"),
    ("train d -o m", {"AUTOREC_TRAIN_EPOCH": "3"}, "unknown environment variable AUTOREC_TRAIN_EPOCH; did you mean AUTOREC_TRAIN_EPOCHS?"),
    ("recommend m --config none.toml", {}, "cannot read the config file none.toml: No such file or directory; check --config"),
    ("recommend m -q -v", {}, "--quiet and --verbose contradict each other; leave out one of them"),
    ("recommend m --summary -", {}, "only one of --output and --summary can be standard output; name a file for the others"),
    ("info m -o m", {}, "--output m would overwrite the input m; name another file"),
    ("info m -o x.csv --format json", {}, "--format json contradicts the file name x.csv; change one of them"),
    ("info m -o x.csv.bz2", {}, "cannot write .bz2 files (x.csv.bz2); end the name with .csv, .tsv, .jsonl, .json, "
     ".parquet, with .gz or .zst after it, or name a --format"),
    ("recommend m --format json --csv-safe", {}, "--csv-safe applies to csv and tsv only, not to json; leave it out"),
    ("recommend m --history - --users -", {}, "only one of --users, --history, --candidates and --exclude can be read from stdin"),
    ("prepare r.csv -o d --rating-scale 5,1", {}, "--rating-scale 5,1 is not LOW,HIGH with LOW below HIGH, such as 1,5"),
    ("run -o out", {}, "give SOURCE, the files of ratings to read; a config file can name a database in [prepare]"),
    ("evaluate m --fail-below ndcg@5=0.1", {}, "--fail-below ndcg@5 is for another number of recommendations than 10; use ndcg@10, or evaluate with --top-k 5"),
    ("prepare r.csv -o d --test 0.1 --test-file t", {}, "--test and --test-file contradict each other; leave out one of them"),
    ("config show trian", {}, "unknown command trian; choose from run, prepare, train, evaluate, cross-validate, tune, recommend, predict, similar, export, report, info, sample, doctor"),
    ("tune d", UNDER_TORCHRUN, "process 2 of 2: tune runs in one process, but torchrun started 2; start it without torchrun"),
    ("recommend m", UNDER_TORCHRUN, "process 2 of 2: recommend runs in one process, but torchrun started 2; start it without torchrun, once for each --shard"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "environment", "sentence"), SENTENCES)
def test_sentence(tmp_path, monkeypatch, line, environment, sentence):
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    result = call(*line.split())
    assert (result.status, result.stdout) == (2, "")
    assert result.stderr.partition(" error: ")[2] == f"{sentence}\n"


def test_sentences_about_options_in_a_config_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text, sentence in {
        "[train]\nepoch = 3": "autorec.toml: unknown option epoch in [train]; did you mean epochs?",
        "[trian]\nepochs = 3": "autorec.toml: unknown table [trian]; did you mean train?",
        "epochs = 3": "autorec.toml: epochs is outside a table; move it into the table of a command, such as [train]",
        "[train]\nepochs = {}": "autorec.toml: epochs in [train] must be a string, a number, true, false or a list of these, not {}",
    }.items():
        (tmp_path / "autorec.toml").write_text(text)
        result = call("train", "d", "-o", "m")
        assert (result.status, result.stderr.partition(" error: ")[2]) == (2, f"{sentence}\n")
