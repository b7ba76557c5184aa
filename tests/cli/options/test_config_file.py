"""Options from a settings file and the environment: what is stronger, and what is refused."""

import os

import pytest

from autorec_cli.cli.options.config_file import check_environment, read_file, variable_of
from autorec_cli.errors import UsageError
from tests.program import call, modules_after

PACKAGE = "autorec_cli.cli.commands."
OF_COMMANDS = {"train": {"epochs": False, "seed": False}, "prepare": {"seed": False, "split": False}}
KNOWN = {"train": {"epochs": False, "hidden-size": False, "force": False}, "recommend": {"user": True, "top-k": False}}


@pytest.fixture
def settings(tmp_path):
    """Reads a settings file with this text."""

    def read(text):
        (tmp_path / "s.toml").write_text(text)
        return read_file(tmp_path / "s.toml", KNOWN)

    return read


def test_values_become_what_would_be_typed(settings):
    text = """
        train.epochs = 30
        train.hidden-size = [500, 250]
        train.force = true
        [recommend]
        user = ["007", "x"]
        top-k = 5
    """
    assert settings(text) == {
        "train": {"epochs": "30", "hidden-size": "500,250", "force": "true"},
        "recommend": {"user": ["007", "x"], "top-k": "5"},
    }


def test_an_empty_file_sets_nothing(settings):
    assert settings("") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nepoch = 3", r"s\.toml.* epoch in \[train\].* epochs\?$"),
        ("[train]\nhidden_size = 3", r"s\.toml.* hidden_size in \[train\].* hidden-size\?$"),
        ("[train]\nzzz = 3", r"zzz in \[train\].* epochs, force, hidden-size$"),
        ("[trian]\nepochs = 3", r"s\.toml.*\[trian\].* train\?$"),
        ("epochs = 3", r"s\.toml.* epochs .*table"),
        ("train = 3", r"s\.toml.* train .*table"),
        ("[train]\nepochs = {a = 1}", r"s\.toml.* epochs in \[train\].*\{'a': 1\}"),
        ("[train]\nepochs = 2020-01-01", r"s\.toml.* epochs in \[train\].*2020"),
        ("[train\n", r"s\.toml.* TOML"),
        ("[train]\nepochs = " + "[" * 5000, r"s\.toml .*too deep a list$"),
        ("[train]\nepochs = " + "9" * 5000, r"s\.toml .*too many digits, or"),
        ("[train]\nepochs = 0x" + "f" * 5000, r"s\.toml .*too many digits, or"),
        ("[train]\nepochs = {a = 0x" + "f" * 5000 + "}", r"s\.toml .*too many digits, or"),
    ],
)
def test_what_means_nothing_is_refused_with_the_nearest_known(settings, text, message):
    with pytest.raises(UsageError, match=message):
        settings(text)


def test_a_missing_or_unreadable_file_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match=r"none\.toml.*No such file"):
        read_file(tmp_path / "none.toml", KNOWN)
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"x\.toml.*TOML"):
        read_file(tmp_path / "x.toml", KNOWN)


def test_variables():
    known = [variable_of("train", "epochs"), variable_of("train", "hidden-size")]
    assert known == ["AUTOREC_TRAIN_EPOCHS", "AUTOREC_TRAIN_HIDDEN_SIZE"]
    fine = [
        "AUTOREC_TRAIN_EPOCHS",
        "AUTOREC_PREPARE_SPLIT",
        "AUTOREC_HOME",
        "AUTOREC_DATA",
        "AUTORECTRAINEPOCHS",
        "PATH",
    ]
    check_environment("train", known, OF_COMMANDS, fine)


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("AUTOREC_TRAIN_EPOCH", "AUTOREC_TRAIN_EPOCHS"),
        ("AUTOREC_TRIAN_EPOCHS", "AUTOREC_TRAIN_EPOCHS"),
        ("AUTOREC_TRAINEPOCHS", "AUTOREC_TRAIN_EPOCHS"),
        ("AUTOREC_EPOCHS", "AUTOREC_TRAIN_EPOCHS"),
        ("AUTOREC_SEED", "AUTOREC_TRAIN_SEED"),
        ("AUTOREC_PREPARE_SPLTI", "AUTOREC_PREPARE_SPLIT"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_nearest_known(variable, meant):
    own = ["AUTOREC_TRAIN_EPOCHS", "AUTOREC_TRAIN_SEED"]
    with pytest.raises(UsageError, match=rf"{variable};.* {meant}\?$"):
        check_environment("train", own, OF_COMMANDS, [variable])


@pytest.mark.parametrize("option", ["SEED", "CONFIG"])
def test_a_variable_of_another_command_imports_only_that_one(shop, workshop, monkeypatch, option):
    monkeypatch.setenv(f"AUTOREC_PREPARE_{option}", "1")
    (modules,) = modules_after("info item.model", cwd=workshop).values()
    commands = {name.removeprefix(PACKAGE) for name in modules if name.startswith(PACKAGE)}
    assert commands == {"info", "prepare"}


# --- through the program


@pytest.fixture
def shop(workshop, tmp_path, monkeypatch):
    """An empty current folder and an environment without settings of ours."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("AUTOREC_"):
            monkeypatch.delenv(name)
    return tmp_path


def n_rows(*arguments):
    result = call("recommend", *arguments, "--user", "007")
    assert result.status == 0, result.stderr
    return result.stdout.count("\n") - 1, result.stderr


def test_typed_over_environment_over_file_over_default(lists_model, shop, monkeypatch):
    assert n_rows(lists_model) == (10, "")
    (shop / "autorec.toml").write_text("[recommend]\ntop-k = 2\n[train]\nepochs = 1\n")
    rows, stderr = n_rows(lists_model)
    assert (rows, stderr.split(" ", 1)[1]) == (2, "settings: top-k=2 (autorec.toml)\n")
    (shop / "other.toml").write_text("recommend.top-k = 3\n")
    rows, stderr = n_rows(lists_model, "--config", "other.toml")
    assert (rows, stderr.split(" ", 1)[1]) == (3, "settings: top-k=3 (other.toml)\n")
    monkeypatch.setenv("AUTOREC_RECOMMEND_TOP_K", "4")
    rows, stderr = n_rows(lists_model)
    assert (rows, stderr.split(" ", 1)[1]) == (4, "settings: top-k=4 (AUTOREC_RECOMMEND_TOP_K)\n")
    assert n_rows(lists_model, "-k", 5) == (5, "")


def test_flags_and_required_options_can_be_set(workshop, shop, monkeypatch):
    (shop / "autorec.toml").write_text('[train]\noutput = "m"\nrefit = false\nhidden-size = 2\nforce = true\n')
    monkeypatch.setenv("AUTOREC_TRAIN_EPOCHS", "1")
    for _ in range(2):
        result = call("train", workshop / "data")
        assert result.status == 0, result.stderr
    assert "fitted on: train, best epochs: 1, 1" in result.stderr
    (told,) = (line for line in result.stderr.splitlines() if " settings: " in line)
    for word in ("output=m (autorec.toml)", "hidden-size=2 (autorec.toml)", "epochs=1 (AUTOREC_TRAIN_EPOCHS)"):
        assert word in told


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("AUTOREC_RECOMMEND_TOPK=1", "", ["AUTOREC_RECOMMEND_TOPK", "AUTOREC_RECOMMEND_TOP_K?"]),
        ("AUTOREC_RECOMEND_TOP_K=1", "", ["AUTOREC_RECOMEND_TOP_K", "AUTOREC_RECOMMEND_TOP_K?"]),
        ("AUTOREC_TRIAN_EPOCHS=1", "", ["AUTOREC_TRIAN_EPOCHS", "AUTOREC_TRAIN_EPOCHS?"]),
        ("AUTOREC_RECOMMEND_TOP_K=x", "", ["--top-k", "(set by AUTOREC_RECOMMEND_TOP_K)"]),
        ("AUTOREC_RECOMMEND_ON_UNKNOWN=x", "", ["--on-unknown", "(set by AUTOREC_RECOMMEND_ON_UNKNOWN)"]),
        ("", "[recommend]\ntopk = 1", ["autorec.toml", "topk in [recommend]", "top-k?"]),
        ("", "[recommend]\ntop-k = 2.5", ["--top-k", "'2.5'", "(set by autorec.toml)"]),
        ("", "[recommend]\nformat = 'xml'", ["--format", "'xml'", "(set by autorec.toml)"]),
        ("", "[recommend]\nconfig = 'x'", ["config in [recommend]"]),
        ("AUTOREC_RECOMMEND_CONFIG=none.toml", "", ["none.toml"]),
    ],
)  # fmt: skip
def test_what_means_nothing_is_status_2(item_model, shop, monkeypatch, variable, text, words):
    if variable:
        monkeypatch.setenv(*variable.split("="))
    if text:
        (shop / "autorec.toml").write_text(text)
    result = call("recommend", item_model)
    assert (result.status, result.stdout) == (2, "")
    assert all(word in result.stderr for word in words), result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("kind", ["dangling", "loop", "folder"])
def test_a_settings_file_that_cannot_be_read_is_not_passed_over(item_model, shop, kind):
    place = shop / "autorec.toml"
    if kind == "folder":
        place.mkdir()
    else:
        place.symlink_to("autorec.toml" if kind == "loop" else "gone.toml")
    result = call("recommend", item_model)
    assert (result.status, result.stdout) == (2, "")
    assert "autorec.toml" in result.stderr


def test_config_show_reads_the_file_that_a_variable_names(shop, monkeypatch):
    (shop / "nightly.toml").write_text("[train]\nepochs = 7\n")
    monkeypatch.setenv("AUTOREC_TRAIN_CONFIG", "nightly.toml")
    shown = call("config", "show", "train", "--format", "csv").stdout
    assert "train,epochs,7,nightly.toml\n" in shown


def test_config_show_names_the_origin_of_a_value_that_it_refuses(shop, monkeypatch):
    (shop / "autorec.toml").write_text('train.variant = "bogus"\n')
    refused = call("config", "show", "train")
    assert (refused.status, refused.stdout) == (2, "")
    assert "(set by autorec.toml)" in refused.stderr
    monkeypatch.setenv("AUTOREC_TRAIN_VARIANT", "bogus")
    assert "(set by AUTOREC_TRAIN_VARIANT)" in call("config", "show", "train").stderr


def test_help_is_shown_whatever_the_settings_file_says(shop):
    (shop / "autorec.toml").write_text("nonsense")
    assert call("recommend", "--help").status == 0


# --- preferences that cannot be beside what is typed


@pytest.mark.parametrize(
    ("text", "arguments", "starts"),
    [
        ("csv-safe = true", ("--format", "json"), "["),
        ("csv-safe = true\nno-header = true", ("--format", "jsonl"), "{"),
        ("csv-safe = true\nno-header = true", (), "007,1"),
        ('format = "json"', ("--csv-safe",), "user_id"),
        ('format = "json"', ("-o", "x.csv"), "user_id"),
        ("quiet = true", ("-v",), "user_id"),
        ("verbose = true", ("-q",), "user_id"),
        ('format = "json"\ncsv-safe = true', (), "["),
    ],
)
def test_a_preference_gives_way_to_what_is_typed(item_model, shop, text, arguments, starts):
    (shop / "autorec.toml").write_text(f"[recommend]\n{text}\n")
    result = call("recommend", item_model, "--user", "007", *arguments)
    assert result.status == 0, result.stderr
    written = result.stdout or (shop / "x.csv").read_text()
    assert written.startswith(starts)
    assert ("MB peak memory" in result.stderr) == ("-v" in arguments)
    assert ("option quiet=True (autorec.toml) is overridden" in result.stderr) == ("-v" in arguments)


def test_preferred_shares_give_way_to_a_split_or_a_file_that_is_typed(workshop, shop):
    (shop / "autorec.toml").write_text("[prepare]\ntest = 0.2\nvalid = 0.2\n")
    for arguments in (("--split", "none"), ("--split", "leave-last"), ("--test-file", shop / "test.csv")):
        (shop / "test.csv").write_text("user,item,rating,timestamp\n001,00001,3,5\n")
        result = call("prepare", workshop / "ratings.csv", "-o", "d", "--force", "--on-error", "skip", *arguments)
        assert result.status == 0, result.stderr


@pytest.mark.parametrize(
    "arguments", [("--csv-safe", "--format", "json"), ("-q", "-v"), ("--format", "json", "-o", "x.csv")]
)
def test_what_is_typed_and_contradicts_itself_is_refused(item_model, shop, arguments):
    assert call("recommend", item_model, *arguments).status == 2
