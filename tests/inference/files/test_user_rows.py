"""Models read for some users only."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autorec_cli.cli.commands import recommend
from autorec_cli.errors import ArtifactError
from autorec_cli.inference.files.model_file import load_model, load_users, save_model
from autorec_cli.inference.files.texts import find_texts, pack_texts
from autorec_cli.storage import checksums, safetensors_writer
from autorec_cli.storage.file_formats import MODEL
from autorec_cli.storage.safetensors_reader import open_tensors
from autorec_cli.storage.safetensors_writer import in_one
from tests.planted import planted_dataset
from tests.program import call
from tests.trained import blend_of, model_of, small_settings

MODELS = ["item_model", "user_model", "both_model", "lists_model"]
USERS = [7, 0, 41]


@pytest.fixture
def blocks(monkeypatch):
    """Models have checksums of blocks, as large ones do."""
    monkeypatch.setattr(checksums, "BLOCK_BYTES", 256)
    monkeypatch.setattr(checksums, "MIN_BLOCKS", 1)


@pytest.fixture(params=["whole tensors", "blocks"])
def model_path(request, tmp_path):
    """Copy of a model, perhaps with checksums of blocks, in a folder of its own."""

    def copied(name):
        if request.param == "blocks":
            request.getfixturevalue("blocks")
        save_model(load_model(request.getfixturevalue(name)), tmp_path / "m")
        return tmp_path / "m"

    return copied


@pytest.mark.parametrize("name", MODELS)
def test_some_users_are_as_in_the_whole_model(model_path, name):
    path = model_path(name)
    whole = load_model(path)
    ids = [whole.catalog.user_ids[user] for user in USERS]
    some = load_users(path, ids)
    assert list(some.catalog.user_ids) == ids
    assert list(some.catalog.item_ids) == list(whole.catalog.item_ids)
    here = np.arange(len(USERS))
    np.testing.assert_array_equal(some.user_scorer()(here), whole.user_scorer()(np.array(USERS)))
    for mine, theirs in zip(some.catalog.seen.of(here), whole.catalog.seen.of(np.array(USERS)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(some.catalog.user_counts, whole.catalog.user_counts[USERS])
    if whole.rater is not None:
        items = np.array([0, 5, 2])
        np.testing.assert_array_equal(some.predict_pairs(here, items), whole.predict_pairs(np.array(USERS), items))
    for mine, theirs in zip(some.networks, whole.networks, strict=True):
        n_users = whole.catalog.n_users
        if theirs.settings.variant == "item":
            rows = [user + channel * n_users for channel in range(theirs.settings.n_channels) for user in USERS]
            np.testing.assert_array_equal(mine.encoder_weights[0], theirs.encoder_weights[0][rows])
        else:
            np.testing.assert_array_equal(mine.encoder_weights[0], theirs.encoder_weights[0])


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_lacks_a_user_is_read_whole(model_path, name):
    path = model_path(name)
    whole = load_model(path)
    assert load_users(path, [whole.catalog.user_ids[0], "nobody"]).catalog.n_users == whole.catalog.n_users


def damaged(path, name, place):
    """Change a byte of a tensor in the file."""
    with open_tensors(path) as file:
        start = file.starts[name] + place % file.tensors[name].nbytes
    content = bytearray(path.read_bytes())
    content[start] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["codes", "seen.indices", "user_counts", "user_ids.bytes", "decoder.weight"])
def test_damage_of_what_is_needed_is_told(model_path, name):
    path = model_path("user_model")
    ids = [load_model(path).catalog.user_ids[0]]
    damaged(path, name, 0)
    with pytest.raises(ArtifactError, match="damaged"):
        load_users(path, ids)


@pytest.mark.usefixtures("blocks")
def test_damage_of_the_rows_of_others_does_not_matter(user_model, tmp_path):
    path = tmp_path / "m"
    save_model(load_model(user_model), path)
    ids = list(load_model(path).catalog.user_ids)
    damaged(path, "codes", -1)  # of the last user
    assert load_users(path, ids[:1]).catalog.n_users == 1
    for load in (load_model, lambda path: load_users(path, ids[-1:])):
        with pytest.raises(ArtifactError, match="damaged"):
            load(path)


@pytest.mark.parametrize("name", MODELS)
def test_recommendations_to_some_are_those_rows_of_all(request, tmp_path, name):
    model = request.getfixturevalue(name)
    users = [load_model(model).catalog.user_ids[user] for user in USERS]
    every = call("recommend", model, "-k", 3).stdout.splitlines()
    (tmp_path / "users").write_text("\n".join(users))
    found = call("recommend", model, "-k", 3, "--users", tmp_path / "users").stdout.splitlines()
    assert found[0] == every[0]
    assert found[1:] == [line for user in users for line in every if line.startswith(f"{user},")]
    assert len(found) == 1 + 3 * len(users)


RULES = [
    ("--include-seen",),
    ("--popularity-correction", "0.5"),
    ("--rerank", "mmr:0.3"),
    ("--explain", "2"),
    ("--where", "year > 1990"),
    ("--max-per", "genre=1"),
    ("--shard", "2/3"),
]


@pytest.mark.parametrize("rule", RULES, ids=" ".join)
@pytest.mark.parametrize("name", ["both_model", "user_model"])
def test_no_rule_depends_on_how_a_model_is_read(request, monkeypatch, workshop, rule, name):
    monkeypatch.chdir(workshop)  # --explain reads the dataset there
    arguments = ("recommend", request.getfixturevalue(name), "--user", "007", "--user", "041", *rule)
    found = call(*arguments)
    monkeypatch.setattr(recommend, "MAX_NEEDED_USERS", 0)
    assert (found.status, found.stdout) == (0, call(*arguments).stdout)


TEXTS = st.lists(st.text("a0\0é", max_size=3), unique=True)


@given(TEXTS, TEXTS | st.just(["\udcff", "a"]))
def test_texts_are_found_where_they_are(texts, wanted):
    found = find_texts(*pack_texts(texts), wanted)
    assert found == [[place for place, text in enumerate(texts) if text == each] for each in wanted]


def test_a_text_that_is_there_twice_is_found_twice():
    assert find_texts(*pack_texts(["b", "a", "b"]), ["a", "b", "c"]) == [[1], [0, 2], []]


def rewritten(path, change):
    """The model at `path` with its tensors changed and right checksums."""
    with open_tensors(path) as file:
        document = checksums.unseal(file.metadata[MODEL.name])
        tensors = {name: np.array(array) for name, array in file.tensors.items()}
    change(tensors)
    rest = {name: value for name, value in document.items() if "checksums" not in name}
    safetensors_writer.write(path, MODEL.name, rest, {name: in_one(array) for name, array in tensors.items()})


HOSTILE = {
    "no seen items": lambda tensors: tensors.update({"seen.indptr": np.zeros_like(tensors["seen.indptr"])}),
    "rows from before the first": lambda tensors: tensors["seen.indptr"].__setitem__(0, -3),
    "rows of fewer users": lambda tensors: tensors.update({"seen.indptr": tensors["seen.indptr"][:-1]}),
    "ends out of order": lambda tensors: tensors["user_ids.ends"].__setitem__(5, 0),
    "ends beyond the ids": lambda tensors: tensors["user_ids.ends"].__setitem__(-1, 2**40),
    "ends of another type": lambda tensors: tensors.update({"user_ids.ends": tensors["user_ids.ends"].astype("i4")}),
    "infinite codes": lambda tensors: tensors["codes"].__setitem__((0, 0), np.inf),
    "an item that is not there": lambda tensors: tensors["seen.indices"].__setitem__(0, 10**6),
    "fewer rows": lambda tensors: tensors.update({"codes": tensors["codes"][:-1]}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_model_is_refused(model_path, case):
    path = model_path("user_model")
    ids = [load_model(path).catalog.user_ids[0]]
    rewritten(path, HOSTILE[case])
    with pytest.raises(ArtifactError):
        load_users(path, ids)


def test_networks_that_share_rows_of_other_things_are_read_whole(tmp_path):
    square = planted_dataset(n_users=50, n_items=50)
    networks = [model_of(square, small_settings(variant, epochs=1)) for variant in ("item", "user")]
    zeros = [replace(network, decoder_bias=np.zeros(50, dtype=np.float32)) for network in networks]
    save_model(blend_of(zeros, (0.5, 0.5)), tmp_path / "m")
    assert load_users(tmp_path / "m", load_model(tmp_path / "m").catalog.user_ids[:1]).catalog.n_users == 50


def test_an_id_that_is_not_utf_8_is_unknown(user_model):
    result = call("recommend", user_model, "--user", "a\udcff", "--user", "007", "--on-unknown", "skip", "-k", 1)
    assert (result.status, result.stdout.count("\n")) == (0, 2)


def test_checksums_of_blocks_do_not_depend_on_the_pieces():
    data = np.arange(3_000_000, dtype=np.uint8)
    sums = []
    for size in (3_000_000, 700_001):
        blocks = checksums.BlockChecksums(data.dtype, data.shape)
        for start in range(0, len(data), size):
            blocks.add(data[start : start + size].data)
        sums.append(blocks.values)
    kind = checksums.of_kind(data.dtype, data.shape)
    starts = range(0, len(data), checksums.BLOCK_BYTES)
    expected = [checksums.with_piece(kind, data[start : start + checksums.BLOCK_BYTES]) for start in starts]
    assert sums == [expected, expected]
