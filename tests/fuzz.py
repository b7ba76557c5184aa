"""Broken and hostile input for `prepare`, as much of it as there is time for: `make fuzz`.

Each input must become a dataset or be refused with a sentence; anything else that is raised is a fault, and the input
is kept. Inputs are pieces of real files cut, turned, repeated and mixed by a seeded generator. Where atheris is
installed, it can choose them by what they reach in the code: `python -m tests.fuzz --atheris`.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import numpy as np
import polars as pl

from autorec_cli.data.preparation import PrepareSettings, prepare
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.data.splits.splitting import SplitSettings
from autorec_cli.errors import AutoRecError

ROWS = [(f"u{n % 7}", f"i{n % 11}", 1 + n % 5, 1_600_000_000 + n) for n in range(60)]


def _text(delimiter: str, header: bool, newline: str = "\n") -> bytes:
    lines = ["user,item,rating,timestamp".replace(",", delimiter)] if header else []
    lines += [delimiter.join(map(str, row)) for row in ROWS]
    return (newline.join(lines) + newline).encode()


def _parquet() -> bytes:
    packed = io.BytesIO()
    pl.DataFrame(ROWS, schema=["user", "item", "rating", "timestamp"], orient="row").write_parquet(packed)
    return packed.getvalue()


def _arrow(stream: bool) -> bytes:
    packed = io.BytesIO()
    frame = pl.DataFrame(ROWS, schema=["user", "item", "rating", "timestamp"], orient="row")
    (frame.write_ipc_stream if stream else frame.write_ipc)(packed)
    return packed.getvalue()


def _of_all_types() -> pl.DataFrame:
    """Ratings among columns of types that are no ratings."""
    frame = pl.DataFrame(ROWS, schema=["user", "item", "rating", "timestamp"], orient="row")
    return frame.with_columns(
        pl.concat_list("rating", "timestamp").alias("list"),
        pl.struct("user", "item").alias("struct"),
        pl.col("timestamp").cast(pl.Duration("ms")).alias("pause"),
        pl.col("user").cast(pl.Binary).alias("bytes"),
        pl.col("user").cast(pl.Categorical).alias("category"),
        pl.col("rating").cast(pl.Float64).replace(3.0, float("nan")).alias("item"),
    )


def _typed_parquet() -> bytes:
    packed = io.BytesIO()
    _of_all_types().write_parquet(packed)
    return packed.getvalue()


def _json_lines(nested: bool) -> bytes:
    rows = [dict(zip(("user", "item", "rating", "timestamp"), row, strict=True)) for row in ROWS]
    return "".join(json.dumps(row | ({"tags": [row, None, True]} if nested else {})) + "\n" for row in rows).encode()


PLAIN = _text(",", True)
BLOCKS = b"".join(
    b"%d:\n" % item + b"".join(b"%d,%d,2005-09-0%d\n" % (n, 1 + n % 5, 1 + n % 9) for n in range(9))
    for item in range(4)
)
QUOTED = (
    b'user,item,rating\n"a,b",x,1\n"c""d",y,2\n"e\nf",z,3\n"=cmd()|x",[red],4\n' + "é\U0001f600\u202e,x,5\n".encode()
)
SEEDS = (
    PLAIN,
    _text("\t", False),
    _text("::", False),
    _text(";", True, "\r\n"),
    _text("|", True),
    _text(" ", False),
    QUOTED,
    gzip.compress(PLAIN, mtime=0),
    gzip.compress(PLAIN, mtime=0) * 2,
    gzip.compress(b"0" * 100_000, mtime=0),
    _parquet(),
    b"\xef\xbb\xbf" + PLAIN,
    PLAIN.decode().encode("utf-16"),
    b"\x28\xb5\x2f\xfd" + PLAIN,
    b"PK\x03\x04",
    b"\x00" * 100,
    _json_lines(False),
    _json_lines(True),
    gzip.compress(_json_lines(False), mtime=0),
    _arrow(stream=False),
    _arrow(stream=True),
    _typed_parquet(),
    b"# comment\n" + PLAIN,
    b"%%MatrixMarket matrix coordinate real general\n9 9 9\n"
    + b"".join(b"%d %d %d\n" % (n % 4, n % 7, n % 5) for n in range(30)),
    BLOCKS,
    PLAIN.decode().encode("utf-32"),
)
TOKENS = (
    *(b"\x00", b'"', b'""', b"\r", b"\n", b"\r\n", b",", b"\t", b"::", b";", b"|", b" ", b"\xff", b"\xef\xbb\xbf"),
    *(b"nan", b"inf", b"-inf", b"1e400", b"-1", b"0x10", b"1_000", b"9" * 400, b"1,5", b"5.0", b"\xd9\xa3"),
    *(b"=cmd()", b"[red]", b"\x1b[31m", "\u202e".encode(), "\u2028".encode(), "\U0001f600".encode(), b"A" * 70_000),
    *(b"user", b"item", b"rating", b"timestamp", b"#", b"\x1f", b"\\", b"PAR1", b"\x1f\x8b"),
    *(b"{", b"}", b"[", b"]", b":", b"null", b"true", b'{"user":', b'"rating":', b"ARROW1", b"\xff\xff\xff\xff"),
    *(b"%", b"# user item rating\n", b"1:\n", b"%%MatrixMarket "),
)
SETTINGS = tuple(
    PrepareSettings(
        read=ReadOptions(skip_bad_rows=skip, encoding=encoding), split=SplitSettings(strategy=strategy, **shares)
    )
    for skip in (False, True)
    for encoding in ("utf-8", "latin-1")
    for strategy, shares in (("random", {}), ("none", {"test": 0.0, "valid": 0.0}))
)


def mutated(rng: np.random.Generator) -> bytes:
    """One input: a piece of a real file, changed up to eight times."""
    data = SEEDS[rng.integers(len(SEEDS))]
    for _ in range(rng.integers(9)):
        at = int(rng.integers(len(data) + 1))
        until = min(len(data), at + int(rng.integers(1, 40)))
        match int(rng.integers(7)):
            case 0:
                data = data[:at]
            case 1:
                data = data[:at] + TOKENS[rng.integers(len(TOKENS))] + data[at:]
            case 2:
                data = data[:at] + rng.bytes(until - at) + data[until:]
            case 3:
                data = data[:at] + data[until:]
            case 4:
                data = data[:until] + data[at:until] * int(rng.integers(1, 20)) + data[until:]
            case 5:
                other = SEEDS[rng.integers(len(SEEDS))]
                data = data[:at] + other[int(rng.integers(len(other))) :]
            case _:
                data = data[:at] + TOKENS[rng.integers(len(TOKENS))] + data[until:]
    return data


def prepare_input(data: bytes, settings: PrepareSettings, file: Path) -> bool:
    """True if the input became a dataset, False if it was refused; whatever else is raised is a fault."""
    file.write_bytes(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            dataset = prepare([str(file)], settings)
    except AutoRecError as error:
        if not str(error) or len(str(error)) > 5_000:
            raise AssertionError(f"no sentence: {str(error)[:200]!r}") from error
        return False
    n_ratings = dataset.train.nnz + dataset.valid.nnz + dataset.test.nnz
    if not (0 < n_ratings == dataset.info["counts"]["n_ratings"] and np.isfinite(dataset.train.data).all()):
        raise AssertionError("the dataset does not add up")
    return True


def main() -> int:
    """Run the inputs asked for; the status is 1 if one showed a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--atheris", action="store_true", help="let atheris choose the inputs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "input"
        if arguments.atheris:
            return _run_atheris(file, arguments.inputs)
        return _run(file, arguments.inputs, arguments.seed)


def _run(file: Path, n_inputs: int, seed: int) -> int:
    rng = np.random.default_rng(seed)
    accepted, faults, start = 0, 0, time.perf_counter()
    for number in range(n_inputs):
        data, settings = mutated(rng), SETTINGS[rng.integers(len(SETTINGS))]
        try:
            accepted += prepare_input(data, settings, file)
        except BaseException as error:  # polars raises panics that are no Exception
            if isinstance(error, KeyboardInterrupt):
                raise
            faults += 1
            kept = Path(f"fuzz-{seed}-{number}.bin")
            kept.write_bytes(data)
            sys.stderr.write(f"{kept} with {settings}:\n{traceback.format_exc(limit=-3)}\n")
    seconds = time.perf_counter() - start
    sys.stdout.write(f"{n_inputs:,} inputs in {seconds:.0f} s: {accepted:,} datasets, {faults:,} faults\n")
    return int(faults > 0)


def _run_atheris(file: Path, n_inputs: int) -> int:
    import atheris

    def one(data: bytes) -> None:
        if data:
            prepare_input(data[1:], SETTINGS[data[0] % len(SETTINGS)], file)

    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(SEEDS):
            (Path(corpus) / str(number)).write_bytes(b"\x00" + seed)
        atheris.instrument_all()
        atheris.Setup([sys.argv[0], f"-runs={n_inputs}", "-max_len=20000", corpus], one)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
