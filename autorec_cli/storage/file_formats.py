"""Names and versions of the formats that outlive a run.

A document begins with its `format` and `version`, in every version, and is sealed (see `checksums`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autorec_cli.errors import ArtifactError
from autorec_cli.storage import checksums

MAX_HEADER_BYTES = 100 << 20
"""Longest header of a safetensors file."""

UNREADABLE_ERRORS = (
    OSError,
    EOFError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""Errors raised by reading documents and arrays that are truncated, foreign or hostile, deep nesting included."""


def reason_of(error: BaseException) -> str:
    """Reason for a message that a file cannot be used."""
    if isinstance(error, RecursionError):
        return "its document is nested too deeply"
    return f"it has no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__


@dataclass(frozen=True)
class FileFormat:
    """Name and version of a file format.

    Attributes:
        name: Name in the file.
        version: Version written, and the only one that is read.
        again: Advice on how to make such a file again.
    """

    name: str
    version: int
    again: str

    def seal(self, document: Mapping[str, Any], indent: int | None = None) -> str:
        """Write a document with format, version and checksum."""
        return checksums.seal({**self.header(), **document}, indent)

    def header(self) -> dict[str, Any]:
        """First two fields of a document."""
        return {"format": self.name, "version": self.version}

    def unseal(self, text: str, subject: str) -> dict[str, Any]:
        """Read a document that `seal` wrote, header included.

        Args:
            text: The document.
            subject: What it describes, for the message.

        Raises:
            ArtifactError: it is of another version.
            ValueError: it is damaged.
        """
        document = json.loads(text)
        if not isinstance(document, dict):
            raise ValueError("it holds no JSON object")
        if "format" not in document and "format_version" in document:  # before the first release
            raise self.too_old(subject)
        version = document.get("version")
        if document.get("format") != self.name or not isinstance(version, int):
            raise ValueError(f"its format is not {self.name}")
        # Before the checksum, whose rules a later version may have changed.
        if version > self.version:
            raise ArtifactError(
                f"{subject} was made by a newer autorec (format version {version}, this one reads {self.version}); "
                f"upgrade autorec-cli, or {self.again}"
            )
        if version < self.version:
            raise self.too_old(subject)
        return checksums.unseal(text)

    def too_old(self, subject: str) -> ArtifactError:
        """Error for a file of an earlier version."""
        return ArtifactError(f"{subject} was made by an unsupported older version of autorec; {self.again}")


MODEL = FileFormat("autorec-model", 1, "train it again with `autorec train`")
DATASET = FileFormat("autorec-dataset", 1, "make it again with `autorec prepare`")
# Not frozen, as those two are (CONTRIBUTING.md): a run ends with the version that began it.
CHECKPOINT = FileFormat("autorec-checkpoint", 5, "train without --resume to start from the beginning")

OLD_MODEL_KEY = "autorec"
"""Metadata key of models from before the first release."""
OLD_CHECKPOINT_KEY = "autorec-resume"
"""Metadata key of checkpoints from before the first release."""
