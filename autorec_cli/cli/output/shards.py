"""Recommendations in a directory: one Parquet file per shard.

A shard is some of the users. Each file says what it was made from, so that a second run makes only those that are
missing, damaged, or of another model or other options. Any scheduler can run the shards; `shard_processes` does on one
machine.
"""

from __future__ import annotations

import hashlib
import io
import json
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from autorec_cli.cli.output.formats import Blocks, Writer
from autorec_cli.errors import ArtifactError, LockedError, UsageError, readable
from autorec_cli.storage import checksums
from autorec_cli.storage.files import cannot_write, is_special, require_parent
from autorec_cli.storage.locks import hold

if TYPE_CHECKING:
    from autorec_cli.inference.ranking.settings import RecommendSettings

KEY = "autorec"
"""Key of the facts about a shard in the metadata of its file."""
OF_NO_SHARD = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""Errors of reading facts from any file."""
UNSEALED = "crc32:--------"
"""Place of the checksum of all other bytes of the file, which is written last."""


@dataclass(frozen=True)
class ShardFolder:
    """Directory of shards.

    Attributes:
        folder: The directory.
        count: Number of shards.
        model: Model file.
        settings: What to recommend, and to whom.
        origin: `origin_of` model and settings.
    """

    folder: Path
    count: int
    model: Path
    settings: RecommendSettings
    origin: str

    def file(self, number: int) -> Path:
        """File of a shard, counted from 1.

        Names sort as the users do.
        """
        return self.folder / f"part-{number:0{len(str(self.count))}}-of-{self.count}.parquet"

    def create(self) -> None:
        """Make the directory.

        Raises:
            UsageError: it cannot be made, or holds other files: who reads all of it would get them too.
        """
        require_parent(self.folder)
        try:
            self.folder.mkdir(exist_ok=True)
            found = [file for file in self.folder.iterdir() if not file.name.startswith(".")]
            shards = {self.file(number).name for number in range(1, self.count + 1)}
            # To read or write a pipe would wait for its other end.
            others = sorted(file.name for file in found if file.name not in shards or is_special(file))
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        if others:
            raise UsageError(
                f"{self.folder} holds {readable(others[0])}, which is not one of {self.count} shards; "
                "remove it or name another directory"
            )

    def facts(self, number: int) -> dict[str, int] | None:
        """Numbers of users and rows of a shard.

        None if it is missing, damaged or of another origin.
        """
        import polars as pl

        file, broken = self.file(number), (pl.exceptions.PolarsError, pl.exceptions.PanicException)
        # The lock also removes what a killed run left; a shard that another run is writing is not there yet.
        with suppress(LockedError, *OF_NO_SHARD, *broken), hold(file, 0.0):
            data = file.read_bytes()
            facts: dict[str, Any] = json.loads(pl.read_parquet_metadata(io.BytesIO(data))[KEY])
            if facts["origin"] == self.origin and _sealed(_with_last(data, facts["seal"], UNSEALED)) == data:
                return {name: int(facts[name]) for name in ("n_users", "n_rows")}
        return None

    def writer(self, n_users: int) -> Writer:
        """Writer of a shard of so many users."""
        return partial(self._write, n_users)

    def _write(self, n_users: int, blocks: Blocks, stream: IO[bytes]) -> None:
        """Write one shard, from all rows in memory.

        Raises:
            ArtifactError: the model was replaced since the origin was computed.
        """
        import polars as pl

        rows = pl.concat(blocks)
        facts = {"origin": self.origin, "n_users": n_users, "n_rows": rows.height, "seal": UNSEALED}
        packed = io.BytesIO()
        rows.write_parquet(packed, metadata={KEY: json.dumps(facts)})
        if origin_of(self.model, self.settings) != self.origin:
            raise ArtifactError(f"{self.model} was replaced meanwhile; run the same command again")
        stream.write(_sealed(packed.getvalue()))


def _sealed(data: bytes) -> bytes:
    """Write the checksum of a file into its metadata."""
    return _with_last(data, UNSEALED, f"crc32:{checksums.of_bytes(data):08x}")


def _with_last(data: bytes, old: str, new: str) -> bytes:
    """Replace the last `old` in a file.

    The metadata are at its end, and an id may be the same text.
    """
    before, _, after = data.rpartition(old.encode())
    return before + new.encode() + after


def origin_of(model: Path, settings: RecommendSettings) -> str:
    """Hash of all that recommendations are made from.

    SHA-256 (hex) of a model and of what is recommended to whom, input files included.

    Raises:
        ArtifactError: it is not a model.
    """
    from safetensors import safe_open

    from autorec_cli.data.readers.source_names import expand_sources
    from autorec_cli.inference.files.model_file import explained, read_document, require_model

    require_model(model)
    # The document has the checksums of all tensors.
    with explained(model), safe_open(model, framework="numpy") as file:
        document = read_document(model, file.metadata() or {})
    inputs: dict[str, Any] = {
        name: [checksums.of_file(Path(file)) for file in expand_sources([given])]
        for name in ("history", "exclude_pairs")
        if (given := getattr(settings, name)) is not None
    }
    # A dataset must be the model's own.
    described = repr(replace(settings, shard=None, dataset=None, **inputs))
    return hashlib.sha256(f"{json.dumps(document, sort_keys=True)}{described}".encode(errors="replace")).hexdigest()
