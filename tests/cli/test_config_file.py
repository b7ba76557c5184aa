"""Options from a settings file and the environment: what is stronger, and what is refused."""

import os

import pytest

from autorec_cli.cli.config_file import check_environment, read_file, variable_of
from autorec_cli.errors import UsageError
from tests.program import call

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
        ("[train]\nepoch = 3", r"has epoch in \[train\], which is no setting; did you mean epochs\?"),
        ("[train]\nhidden_size = 3", r"has hidden_size in \[train\], which is no setting; did you mean hidden-size\?"),
        ("[train]\nzzz = 3", r"no setting; known are epochs, force, hidden-size$"),
        ("[trian]\nepochs = 3", r"has \[trian\], which is no table of a command; did you mean train\?"),
        ("epochs = 3", r"has epochs outside a table; put it under that of a command, such as \[train\]"),
        ("train = 3", r"has train outside a table"),
        ("[train]\nepochs = {a = 1}", r"epochs in \[train\] must be a text, a number, true, false or a list of those"),
        ("[train]\nepochs = 2020-01-01", r"epochs in \[train\] must be"),
        ("[train\n", "is not TOML"),
    ],
)
def test_what_means_nothing_is_refused_with_the_nearest_known(settings, text, message):
    with pytest.raises(UsageError, match=message):
        settings(text)


def test_a_missing_or_unreadable_file_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_file(tmp_path / "none.toml", KNOWN)
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not TOML"):
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
    check_environment("train", known, ["AUTOREC_PREPARE_SPLIT", "AUTOREC_PREPARE_SEED"], fine)


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
    with pytest.raises(UsageError, match=f"has {variable}, which is no setting; did you mean {meant}.$"):
        check_environment("train", own, ["AUTOREC_PREPARE_SEED", "AUTOREC_PREPARE_SPLIT"], [variable])


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
    assert "fitted on: train, epochs: 1" in result.stderr
    assert "settings: output=m (autorec.toml), hidden-size=2 (autorec.toml), epochs=1 (AUTOREC_TRAIN_EPOCHS)" in (
        result.stderr
    )


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("AUTOREC_RECOMMEND_TOPK=1", "", "TOPK, which is no setting; did you mean AUTOREC_RECOMMEND_TOP_K?"),
        ("AUTOREC_RECOMEND_TOP_K=1", "", "did you mean AUTOREC_RECOMMEND_TOP_K?"),
        ("AUTOREC_TRIAN_EPOCHS=1", "", "AUTOREC_TRIAN_EPOCHS, which is no setting; did you mean AUTOREC_TRAIN_EPOCHS?"),
        ("AUTOREC_RECOMMEND_TOP_K=x", "", "(set by AUTOREC_RECOMMEND_TOP_K); try"),
        ("", "[recommend]\ntopk = 1", "autorec.toml has topk in [recommend], which is no setting; did you mean top-k?"),
        ("", "[recommend]\ntop-k = 2.5", "(set by autorec.toml); try"),
        ("", "[recommend]\nconfig = 'x'", "has config in [recommend], which is no setting"),
        ("AUTOREC_RECOMMEND_CONFIG=none.toml", "", "the settings file none.toml cannot be read"),
    ],
)  # fmt: skip
def test_what_means_nothing_is_status_2(item_model, shop, monkeypatch, variable, text, message):
    if variable:
        monkeypatch.setenv(*variable.split("="))
    if text:
        (shop / "autorec.toml").write_text(text)
    result = call("recommend", item_model)
    assert (result.status, result.stdout) == (2, "")
    assert message in result.stderr
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
    assert "the settings file autorec.toml" in result.stderr


def test_config_show_reads_the_file_that_a_variable_names(shop, monkeypatch):
    (shop / "nightly.toml").write_text("[train]\nepochs = 7\n")
    monkeypatch.setenv("AUTOREC_TRAIN_CONFIG", "nightly.toml")
    shown = call("config", "show", "train", "--format", "csv").stdout
    assert "train,epochs,7,nightly.toml\n" in shown


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
    assert ("MB of memory at most" in result.stderr) == ("-v" in arguments)
    assert ("option quiet=True (autorec.toml) gives way to what is typed" in result.stderr) == ("-v" in arguments)


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
