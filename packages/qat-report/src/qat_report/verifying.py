"""Whether a comparison still says what its inputs say: files by their hashes, its own words by deriving them again."""

import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

import qat_artifacts
from qat_artifacts import Ref
from qat_report.claims import START
from qat_report.comparing import COMPARISON_FILE, assemble
from qat_report.comparison import Comparison
from qat_report.errors import ReportError
from qat_report.exports import ExportView
from qat_report.finding import Located, qualify
from qat_report.numbers import count
from qat_report.summary import RunSummary
from qat_report.views import DecisionView

_KEYS = {"rows": "run_id", "claims": "id", "exports": "export"}  # what names a record of a list
_NUMBERS = ("cells", "references", "attribution", "yolo10m_allowed", "choice")
_SENTENCES = ("verdict", "notes")


@attrs.frozen(kw_only=True)
class Fault:
    """Something that is not as it was. `rows` and `claims` are what rests on it, by run id and by id.

    `kind`: a file that the comparison rests on is missing or changed; a record of it, or a page beside it, is not what
    those files give.
    """

    kind: Literal["missing", "changed", "record", "page"]
    text: str
    rows: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()

    def __str__(self) -> str:
        rests = [f"{count(len(self.rows), 'row')} ({', '.join(self.rows)})"] if self.rows else []
        rests += [f"{count(len(self.claims), 'sentence')} ({', '.join(self.claims)})"] if self.claims else []
        return self.text + (f"; on it rest {' and '.join(rests)}" if rests else "")


@attrs.frozen(kw_only=True)
class Verification:
    """`rows` and `claims` count what was checked, `files` the files behind it."""

    comparison: str
    rows: int
    claims: int
    files: int
    faults: tuple[Fault, ...]


def verify(place: Path) -> Verification:
    """Check a comparison against everything it rests on.

    Every input of the comparison, and every input of each summary among them, must be there with the hash that was
    recorded. While they are, rows, cells, notes, verdict and claims must be what they give now. The pages must be those
    that were written with it.

    Args:
        place: comparison.json, or the folder it lies in.

    Raises:
        ReportError: it was written before there were claims.
        ArtifactError: it is no comparison.
    """
    path = place / COMPARISON_FILE if place.is_dir() else place
    stored = qat_artifacts.read(path, Comparison)
    header = qat_artifacts.read_header(path)
    if stored.verdict and not stored.claims:
        raise ReportError(f"{path}: version {header.version} has no claims to verify; run `qat-report compare` again")
    files = _Files()
    faults = files.check(path.parent, header.inputs, stored)
    faults += [] if faults else _derive_again(path, stored, header.inputs, header.created_by)
    faults += [
        Fault(kind="page", text=f"{path.parent / name}: not the page that was written with {path.name}")
        for name, digest in stored.pages.items()
        if files.sha256(path.parent / name) != digest
    ]
    return Verification(
        comparison=path.as_posix(),
        rows=len(stored.rows),
        claims=len(stored.claims),
        files=len(files.known),
        faults=tuple(faults),
    )


@attrs.define
class _Files:
    """Hashes each file once: the rows of a training run share theirs."""

    known: dict[Path, str | None] = attrs.field(factory=dict)

    def sha256(self, path: Path) -> str | None:
        place = path.resolve()
        if place not in self.known:
            self.known[place] = qat_artifacts.sha256_file(place) if place.is_file() else None
        return self.known[place]

    def check(self, folder: Path, inputs: Sequence[Ref], stored: Comparison) -> list[Fault]:
        """Every file that is missing or not what it was, once, with what rests on it."""
        rows = {row.summary: row.run_id for row in stored.rows}
        resting: dict[tuple[Path, str], list[str]] = {}
        decisions = {folder / ref.path for ref in inputs if ref.schema == DecisionView.SCHEMA}
        for ref in inputs:
            path = folder / ref.path
            own = [rows[ref.path]] if ref.path in rows else []
            resting.setdefault((path, ref.sha256), []).extend(own)
            if ref.schema == RunSummary.SCHEMA and self.sha256(path) == ref.sha256:
                for behind in qat_artifacts.read_header(path).inputs:
                    resting.setdefault(((path.parent / behind.path).resolve(), behind.sha256), []).extend(own)
        found = []
        for (path, digest), held in resting.items():
            state = self.sha256(path)
            if state == digest:
                continue
            claims = {claim.id for claim in stored.claims if set(claim.rows) & set(held)}
            claims |= {START} if path in decisions else set()
            found.append(
                Fault(
                    kind="missing" if state is None else "changed",
                    text=f"{path}: {'not there' if state is None else 'changed since the comparison was written'}",
                    rows=tuple(held),
                    claims=tuple(claim.id for claim in stored.claims if claim.id in claims),
                )
            )
        return found


def _derive_again(path: Path, stored: Comparison, inputs: Sequence[Ref], created_by: str) -> list[Fault]:
    """Differences between what is stored and what its unchanged inputs give."""
    folder = path.parent
    places = {
        schema: [folder / ref.path for ref in inputs if ref.schema == schema]
        for schema in (RunSummary.SCHEMA, DecisionView.SCHEMA, ExportView.SCHEMA)
    }
    names = {row.summary: row.run_id for row in stored.rows}
    found = [
        _named(
            Located(path=folder / ref.path, source=folder, summary=qat_artifacts.read(folder / ref.path, RunSummary)),
            names.get(ref.path, ""),
        )
        for ref in inputs
        if ref.schema == RunSummary.SCHEMA
    ]
    derived = assemble(
        found,
        out=folder,
        gate=next(iter(places[DecisionView.SCHEMA]), None),
        exports=places[ExportView.SCHEMA],
        choice=stored.choice,
    ).comparison
    here = f"qat-report {importlib.metadata.version('qat-report')}"
    wording = f" ({created_by} wrote it, this is {here})" if created_by != here else ""
    old, new = qat_artifacts.unstructure(stored), qat_artifacts.unstructure(derived)
    faults: list[Fault] = []
    for field, key in _KEYS.items():
        faults += _compare_records(path, field, {r[key]: r for r in old[field]}, {r[key]: r for r in new[field]})
    for field in (*_NUMBERS, *_SENTENCES):
        if old[field] != new[field]:
            text = f"{path}: {field} is not what its inputs give{wording if field in _SENTENCES else ''}"
            faults.append(Fault(kind="record", text=text))
    return faults


def _named(item: Located, run_id: str) -> Located:
    """With the name of its root before its ids, where the comparison gave it one."""
    name = run_id.removesuffix(f":{item.summary.run_id}")
    return item if name == run_id else qualify(item, name)


def _compare_records(
    path: Path, field: str, old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]]
) -> Iterable[Fault]:
    for name in dict.fromkeys((*old, *new)):
        where = f"{path}: {field.removesuffix('s')} {name!r}"
        if name not in old or name not in new:
            yield Fault(kind="record", text=f"{where} is {'missing' if name in new else 'not given by its inputs'}")
            continue
        for key, value in old[name].items():
            if value != new[name][key]:
                text = f"{where}: {key} is {value!r}, its inputs give {new[name][key]!r}"
                yield Fault(kind="record", text=text)
