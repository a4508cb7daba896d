"""Read and write versioned JSON artifacts: header first, strict types, no NaN, atomic and durable.

>>> import attrs, tempfile, pathlib
>>> from typing import ClassVar
>>> import qat_artifacts
>>> @attrs.frozen(kw_only=True)
... class Reading:
...     SCHEMA: ClassVar[str] = "example/reading"
...     VERSION: ClassVar[str] = "1.0"
...     celsius: float
>>> path = pathlib.Path(tempfile.mkdtemp()) / "reading.json"
>>> _ = qat_artifacts.write(path, Reading(celsius=21.5), created_by="example 1.0")
>>> qat_artifacts.read(path, Reading)
Reading(celsius=21.5)

`read` is for the owner of a schema: unknown keys are errors, unless a newer minor wrote them.
`read_view` is for a reader of somebody else's artifact: it asks for the fields of its own narrow class, no more.
"""

from qat_artifacts._codec import dumps, loads, read, read_header, read_view, write
from qat_artifacts._convert import structure, unstructure
from qat_artifacts._files import sha256_file, write_bytes, write_text
from qat_artifacts._header import Header, Record, Ref
from qat_artifacts._process import Exit, printable, run_command
from qat_artifacts.errors import ArtifactError, InvalidArtifact, NotAnArtifact, UnsupportedVersion

__all__ = [
    "ArtifactError",
    "Exit",
    "Header",
    "InvalidArtifact",
    "NotAnArtifact",
    "Record",
    "Ref",
    "UnsupportedVersion",
    "dumps",
    "loads",
    "printable",
    "read",
    "read_header",
    "read_view",
    "run_command",
    "sha256_file",
    "structure",
    "unstructure",
    "write",
    "write_bytes",
    "write_text",
]
