"""From what was named on the command line to the summaries that are compared."""

import glob
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import attrs

import qat_artifacts
from qat_report.comparison import Choice
from qat_report.errors import ReportError, RequestError
from qat_report.numbers import count
from qat_report.summary import SUMMARY_FILE, RunSummary

EXPORT_FILE = "export.json"
RUN_FILE = "run.json"


@attrs.frozen(kw_only=True)
class Located:
    """A summary and its file. `source` is what it was found under."""

    path: Path
    source: Path
    summary: RunSummary


def find_summaries(sources: Iterable[Path]) -> list[Path]:
    """Summary files: each source is one, a folder searched with all below it, or a pattern such as `runs/*/yolo10n`.

    A file found twice counts once.

    Raises:
        ReportError: a source does not exist, matches nothing, or holds no summary.
    """
    return [path for path, _ in _search(sources)]


def _search(sources: Iterable[Path]) -> list[tuple[Path, Path]]:
    found: dict[Path, tuple[Path, Path]] = {}
    for source in (place for given in sources for place in expand(given)):
        paths = files_below(source, SUMMARY_FILE)
        if not paths:
            trained = next(iter(files_below(source, RUN_FILE)), None)
            how = f" --run {trained.parent} --method baseline --out FOLDER" if trained else ""
            raise ReportError(
                f"{source}: no {SUMMARY_FILE} in this folder or below; run `qat-report summarize{how}` first"
            )
        for path in paths:
            found.setdefault(path.resolve(), (path, source))
    return list(found.values())


def expand(given: Path) -> list[Path]:
    """The files and folders that a pattern names, sorted; a path that exists stands for itself, whatever its letters.

    Raises:
        ReportError: a pattern matches nothing.
    """
    if given.exists() or not glob.has_magic(str(given)):
        return [given]
    matches = sorted(glob.glob(str(given), recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    if not matches:
        raise ReportError(f"{given}: no file or folder matches this pattern")
    return [Path(match) for match in matches]


def files_below(source: Path, name: str) -> list[Path]:
    """Files called `name` in a folder and below, sorted; a file stands for itself."""
    return sorted(source.rglob(name)) if source.is_dir() else [source]


def read_summaries(sources: Sequence[Path]) -> list[Located]:
    """Read what `find_summaries` finds; run ids that two sources share are told apart by the name of the source.

    Raises:
        ReportError: a run id occurs twice below one source, or in files of the same content.
        ArtifactError: a file is no summary.
    """
    read = [
        Located(path=path, source=source, summary=qat_artifacts.read(path, RunSummary))
        for path, source in _search(sources)
    ]
    groups: dict[str, list[Located]] = {}
    for item in read:
        groups.setdefault(item.summary.run_id, []).append(item)
    shared = {run_id for run_id, items in groups.items() if len(items) > 1}
    for run_id in sorted(shared):
        _refuse_copies(run_id, groups[run_id])
    if not shared:
        return read
    names = _names({item.source for item in read})
    return [qualify(item, names[item.source]) for item in read]


def _refuse_copies(run_id: str, items: Sequence[Located]) -> None:
    first, *others = sorted(items, key=lambda item: item.path)
    for other in others:
        if other.source == first.source or other.summary == first.summary:
            raise ReportError(f"run id {run_id!r} occurs twice: {first.path} and {other.path}; leave one of them out")


def _names(sources: Collection[Path]) -> dict[Path, str]:
    """A name for each source: the end of its path, as long as it takes to tell them apart."""
    parts = {source: source.resolve().parts for source in sources}
    for length in range(1, max(map(len, parts.values())) + 1):
        names = {source: "/".join(found[-length:]) for source, found in parts.items()}
        if len(set(names.values())) == len(names):
            return names
    raise AssertionError("two sources have one path")


def qualify(item: Located, name: str) -> Located:
    """The same summary as a run of the source `name`: two roots may each hold a run `yolo10n/shared/seed0`."""
    summary = attrs.evolve(
        item.summary,
        run_id=f"{name}:{item.summary.run_id}",
        trajectory_id=f"{name}:{item.summary.trajectory_id}",
    )
    return attrs.evolve(item, summary=summary)


def choose(
    found: Sequence[Located], *, variants: Sequence[str] = (), methods: Sequence[str] = (), seeds: Sequence[int] = ()
) -> tuple[list[Located], Choice | None]:
    """The summaries that were asked for, and what was asked; nothing asked, all of them.

    Raises:
        RequestError: no summary is of a variant, a method or a seed that was asked for, or of all of them at once.
    """
    if not (variants or methods or seeds):
        return list(found), None
    wanted = {"variant": variants, "method": methods, "seed": seeds}
    for key, values in wanted.items():
        held = {_facet(item, key) for item in found}
        for value in values:
            if value not in held:
                raise RequestError(f"--{key} {value}: no summary has it; there are {', '.join(map(str, sorted(held)))}")
    kept = [item for item in found if all(not v or _facet(item, key) in v for key, v in wanted.items())]
    if not kept:
        raise RequestError(f"none of {count(len(found), 'summary file')} has all that was asked for; ask for less")
    return kept, Choice(
        variants=tuple(variants), methods=tuple(methods), seeds=tuple(seeds), left_out=len(found) - len(kept)
    )


def _facet(item: Located, key: str) -> str | int:
    summary = item.summary
    facets: dict[str, str | int] = {
        "variant": summary.model.variant,
        "method": summary.method.variant,
        "seed": summary.training.seed,
    }
    return facets[key]


def relative(path: Path, folder: Path) -> str:
    """`path` as seen from `folder`, with forward slashes."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
