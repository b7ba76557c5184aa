"""Comments, MatrixMarket, KONECT, Netflix Prize blocks and UTF-32."""

from __future__ import annotations

import pytest

from autorec_cli.data.builder.read_ratings import read_ratings
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.data.readers.text.preamble import rows_of_blocks
from autorec_cli.errors import InputDataError

TRIPLES = [(n % 4 + 1, n % 7 + 1, n % 5 + 1) for n in range(20)]
EXPECTED = [(str(user), str(item), float(rating)) for user, item, rating in TRIPLES]
BLANKS = "".join("{} {} {}\n".format(*row) for row in TRIPLES)
COMMAS = BLANKS.replace(" ", ",")


def read(path, text, **options):
    path.write_bytes(text.encode())
    return rows_of(path, **options)


def rows_of(path, **options):
    table = read_ratings([str(path)], ReadOptions(**options))
    users, items = table.indexes()
    ids = zip(table.user_ids.gather(users).to_list(), table.item_ids.gather(items).to_list(), strict=True)
    return [(*pair, rating) for pair, rating in zip(ids, table.ratings.values().tolist(), strict=True)], table


@pytest.mark.parametrize("field", ["real", "integer"])
@pytest.mark.parametrize("comment", ["", "% made by hand\n%\n", "\n"])
def test_a_coordinate_matrix_is_three_columns(tmp_path, field, comment):
    text = f"%%MatrixMarket matrix coordinate {field} general\n{comment}4 7 20\n{BLANKS}"
    found, table = read(tmp_path / "m.mtx", text)
    assert found == EXPECTED
    assert table.n_skipped == 0
    assert read(tmp_path / "m.mtx", text.replace("\n", "\r\n"))[0] == EXPECTED
    with pytest.raises(InputDataError, match=f"line {3 + comment.count(chr(10))}, column 3"):
        read(tmp_path / "m.mtx", text.replace(BLANKS, "1 1 x\n" + BLANKS))


@pytest.mark.parametrize("banner", ["matrix array real general", "matrix coordinate real symmetric",
                                    "matrix coordinate complex general", "matrix", ""])  # fmt: skip
def test_other_matrices_are_named(tmp_path, banner):
    with pytest.raises(InputDataError, match="MatrixMarket"):
        read(tmp_path / "m.mtx", f"%%MatrixMarket {banner}\n4 7 20\n{BLANKS}")


def test_konect_has_users_items_weights_and_times(tmp_path):
    rows = "".join(f"{line} {10**9 + n}\n" for n, line in enumerate(BLANKS.splitlines()))
    for text in (rows, rows.replace(" ", "\t")):
        found, table = read(tmp_path / "out.konect", f"% bip weighted\n% 20 4 7\n{text}")
        assert found == EXPECTED
        assert table.timestamps.values()[0] == 10**9


@pytest.mark.parametrize("comment", ["# exported by a tool\n", "% a, b, c\n", "#\n\n# 1 2 3\n", "# one\r\n# two\r\n"])
@pytest.mark.parametrize("header", ["user,item,rating\n", ""])
def test_comments_before_the_first_row_are_skipped(tmp_path, comment, header):
    found, table = read(tmp_path / "r.csv", comment + header + COMMAS)
    assert found == EXPECTED
    assert (table.n_skipped, table.sources[0].layout.header is not None) == (0, header != "")
    with pytest.raises(InputDataError, match=f"line {(comment + header).count(chr(10)) + 2}, column"):
        read(tmp_path / "r.csv", comment + header + "1,1,2\n1,1,x\n" + COMMAS)


@pytest.mark.parametrize(
    "header", ["# itemId,userId,rating\n", "#itemId,userId,rating\n# more\n", "#itemId userId rating\n"]
)
def test_a_header_in_a_comment_names_the_columns(tmp_path, header):
    delimiter = "," if "," in header else " "
    rows = "".join(f"{item}{delimiter}{user}{delimiter}{rating}\n" for user, item, rating in TRIPLES)
    found, table = read(tmp_path / "r.csv", header + rows)
    assert found == EXPECTED
    assert table.sources[0].layout.column_choices()["user"] == "userId"


def test_ids_that_begin_with_a_mark_are_no_comments(tmp_path):
    rows = "".join(f"#{user},{item},{rating}\n" for user, item, rating in TRIPLES)
    expected = [(f"#{user}", item, rating) for user, item, rating in EXPECTED]
    assert read(tmp_path / "r.csv", rows)[0] == expected
    assert read(tmp_path / "r.csv", rows + "9,1,2\n")[0] == [*expected, ("9", "1", 2.0)]
    assert read(tmp_path / "r.csv", "user,item,rating\n" + rows)[0] == expected


BLOCKS = "1:\n1000,2,2005-09-01\n1001,3,2005-09-02\n\n2:\n1000,4,2005-09-03\nx1,5,2005-09-04\n3:\n4:\n7,1,2005-09-05"
IN_BLOCKS = [("1000", "1", 2.0), ("1001", "1", 3.0), ("1000", "2", 4.0), ("x1", "2", 5.0), ("7", "4", 1.0)]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_netflix_blocks_have_their_item_in_a_line_above(tmp_path, newline):
    found, table = read(tmp_path / "b.txt", BLOCKS.replace("\n", newline))
    assert found == IN_BLOCKS
    assert table.timestamps.values()[0] == 1125532800
    undated = "\n".join(line.rpartition(",")[0] if "," in line else line for line in BLOCKS.split("\n"))
    assert read(tmp_path / "b.txt", undated.replace("\n", newline))[0] == IN_BLOCKS
    assert len(read(tmp_path / "b.txt", BLOCKS, columns={"timestamp": "none"})[1].timestamps.values()) == 0
    with pytest.raises(InputDataError, match=r"b\.txt, line 6, column 2 \(rating\): 'bad'"):
        read(tmp_path / "b.txt", BLOCKS.replace("1000,4", "1000,bad"))
    assert read(tmp_path / "b.txt", BLOCKS.replace("1000,4", "1000,bad"), skip_bad_rows=True)[1].n_skipped == 1


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_blocks_are_the_same_whatever_the_chunks(size):
    data = (BLOCKS + "\n").encode() * 3
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    rows = b"".join(rows_of_blocks(iter(chunks)))
    assert rows.count(b"\n") == data.count(b"\n")
    assert rows.split() == [f"{user},{rating:.0f},2005-09-0{day + 1},{item}".encode()
                            for day, (user, item, rating) in enumerate(IN_BLOCKS)] * 3  # fmt: skip


def test_blocks_without_ratings_and_with_other_columns_are_named(tmp_path):
    with pytest.raises(InputDataError, match="'1:' begins a block"):
        read(tmp_path / "probe.txt", "1:\n1000\n1001\n2:\n1002\n")
    with pytest.raises(InputDataError, match="leave out --columns"):
        read(tmp_path / "b.txt", BLOCKS, columns={"user": "1", "rating": "2", "item": "3"})


def test_utf_32_is_read_and_named(tmp_path):
    for encoding in ("utf-32", "utf-32-le", "utf-32-be"):
        (tmp_path / "r.csv").write_bytes(COMMAS.encode(encoding))
        assert rows_of(tmp_path / "r.csv", encoding=encoding)[0] == EXPECTED
    (tmp_path / "r.csv").write_bytes(COMMAS.encode("utf-32"))  # its mark tells
    assert rows_of(tmp_path / "r.csv")[0] == EXPECTED
    (tmp_path / "r.csv").write_bytes(COMMAS.encode("utf-32-le"))
    with pytest.raises(InputDataError, match="--encoding utf-32-le"):
        rows_of(tmp_path / "r.csv")


@pytest.mark.parametrize("text", [b"user\xd0\xaa\x86:\n1,2\n", b"\0\0\xf4h[\0:"])
def test_bytes_that_are_no_text_are_no_blocks(tmp_path, text):
    (tmp_path / "r.csv").write_bytes(text)
    with pytest.raises(InputDataError):
        rows_of(tmp_path / "r.csv")
