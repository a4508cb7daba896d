"""`invoke ladder.plan`: the cells of a whole ladder, their hours, their disk, and when they end on so many GPUs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

import qat_artifacts
from qat_ladder.cells import Trajectory
from qat_ladder.dataset import image_counts, prepare
from qat_ladder.doomed import EPOCHS
from qat_ladder.errors import ConfigError
from qat_ladder.estimate import spell, uses_gpu, work
from qat_ladder.flags import Request
from qat_ladder.forecast.costs import Job, bytes_of, finish, stages
from qat_ladder.forecast.paces import PaceView, Speed, measure, read_paces, speed_of
from qat_ladder.gating import M as GATED
from qat_ladder.launch import say
from qat_ladder.layout import Root
from qat_ladder.locking import held
from qat_ladder.plan import binding_plan, extend, make_plan
from qat_ladder.pretraining import demo_weights
from qat_ladder.stage import resolve_rows, trajectories
from qat_ladder.training import starting_checkpoint


@attrs.frozen(kw_only=True)
class Asked:
    """What to forecast. `images` replaces the numbers of the data; `paces` are files of `qat-train pace`."""

    requests: tuple[Request, ...]
    gpus: int
    images: tuple[int, int] | None = None
    paces: tuple[Path, ...] = ()
    measure: int = 0


def parse_images(text: str) -> tuple[int, int] | None:
    """Training and validation images of `118287,5000`; None of "".

    Raises:
        ConfigError: no two positive integers.
    """
    if not text:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or not all(part.isdecimal() and part.isascii() and int(part) for part in parts):
        raise ConfigError(f"--images {text!r}: expected training and validation images, such as 118287,5000")
    return int(parts[0]), int(parts[1])


def parse_positive(flag: str, text: str) -> int:
    """A number of things, at least one.

    Raises:
        ConfigError: it is none.
    """
    if not (text.isdecimal() and text.isascii() and int(text)):
        raise ConfigError(f"{flag} {text!r}: expected a positive integer")
    return int(text)


def forecast(asked: Asked) -> dict[str, Any]:
    """Everything that is told, as JSON values; seconds are null where nobody can say.

    Nothing is written, unless a measurement is asked for: data and starting weights are then made as the ladder makes
    them, in the root, where it will find them.

    Raises:
        LadderError: wrong configuration, data or machine.
    """
    variants = [request.variant for request in asked.requests]
    if asked.measure and len(variants) > 1 and (file := asked.requests[0].checkpoint):
        raise ConfigError(
            f"--checkpoint {file}: one file, and {', '.join(variants)} are to be measured; measure one of them at a "
            "time (--variants n --checkpoint FILE)"
        )
    paces = read_paces(asked.paces)
    jobs: list[Job] = []
    told: list[dict[str, Any]] = []
    fingerprints: dict[Path, str] = {}  # of roots whose data were prepared for a measurement
    for request in asked.requests:
        methods = resolve_rows(request)
        root = Root(request.root)
        plan = extend(binding_plan(root), make_plan(methods, request.seeds, request.trajectory), root)
        arms = _by_arm(trajectories(methods, request.seeds, plan))
        measured: dict[str, PaceView] = {}
        fingerprint = plan.data_fingerprint
        if asked.measure:
            fingerprint = fingerprints.get(root.path, fingerprint)
            fingerprint, measured = _measure(request, root, arms, fingerprint, asked.measure)
            fingerprints[root.path] = fingerprint
        images = asked.images or image_counts(methods[0].config, root, fingerprint)
        for arm, runs in arms.items():
            speed = speed_of(
                runs[0], root, images, paces, measured=measured.get(arm), other_data=asked.images is not None
            )
            made = [_job(run, speed, images) for run in runs] if speed else []
            if speed and made and not any(job.variant == made[0].variant for job in jobs):
                made[0] = attrs.evolve(made[0], references=speed.references)  # the others find them in the root
            told.append(_told(arm, runs, speed, images, made))
            jobs += made
    known = all(row["epoch_seconds"] is not None for row in told)
    return {
        "profile": asked.requests[0].profile_name(),
        "seeds": asked.requests[0].seeds,
        "gpus": asked.gpus,
        "trajectory": asked.requests[0].trajectory,
        "arms": told,
        "bytes": sum(row["bytes"] for row in told),
        "total": _total(jobs, asked.gpus) if known and jobs else None,
    }


def _by_arm(runs: Sequence[Trajectory]) -> dict[str, list[Trajectory]]:
    found: dict[str, list[Trajectory]] = {}
    for run in runs:
        found.setdefault(run.arm, []).append(run)
    return found


def _measure(
    request: Request, root: Root, arms: Mapping[str, Sequence[Trajectory]], known: str, steps: int
) -> tuple[str, dict[str, PaceView]]:
    """The fingerprint of the data, prepared as the ladder does it, and a measurement of each arm."""
    config = next(iter(arms.values()))[0].methods[0].config
    with held(root):
        fingerprint = prepare(config, root, known, say)
        if config.demo:
            demo_weights(request, Path(config.model.checkpoint))
        checkpoint = starting_checkpoint(config, root, fingerprint, say)
        files = {
            arm: measure(runs[0], root, dataset=root.data(fingerprint), checkpoint=checkpoint, steps=steps)
            for arm, runs in arms.items()
        }
    return fingerprint, dict(zip(files, read_paces(list(files.values())), strict=True))


def _job(run: Trajectory, speed: Speed, images: tuple[int, int] | None) -> Job:
    config, series = run.methods[0].config, len(run.series)
    lone = work(config, *images, 1) / work(config, *images, series) if images else 1.0
    return Job(
        variant=run.variant,
        arm=run.arm,
        seed=run.seed,
        rows=tuple(m.config.method.name for m in run.methods),
        epochs=config.training.epochs,
        corrections=sum(m.config.qc.epochs for m in run.methods if m.config.method.correction),
        epoch=speed.epoch,
        lone_epoch=lone * speed.epoch,
        start=speed.start,
        corrected=sum(m.config.method.correction for m in run.methods),
    )


def _told(
    arm: str,
    runs: Sequence[Trajectory],
    speed: Speed | None,
    images: tuple[int, int] | None,
    jobs: Sequence[Job],
) -> dict[str, Any]:
    first = runs[0]
    training = first.methods[0].config.training
    corrected = sum(m.config.method.correction for m in first.methods)
    return {
        "variant": first.variant,
        "arm": arm,
        "rows": [m.config.method.name for m in first.methods],
        "runs": len(runs),
        "epochs": training.epochs,
        "imgsz": training.imgsz,
        "batch": training.batch,
        "images": list(images) if images else None,
        "epoch_seconds": speed.epoch if speed else None,
        "source": speed.source if speed else None,
        "device": speed.device if speed else None,
        "processor": _processor(speed, first),
        "seconds": sum(job.seconds for job in jobs) if jobs else None,
        "bytes": len(runs) * bytes_of(first.variant, corrections=corrected),
    }


def _processor(speed: Speed | None, run: Trajectory) -> str:
    """GPU or CPU: of whoever measured, or what a run would take here."""
    if speed is not None and speed.source != "measured in this root":
        return "CPU" if speed.device == "cpu" else "GPU"
    return "GPU" if uses_gpu(run.methods[0].config) else "CPU"


def _total(jobs: Sequence[Job], gpus: int) -> dict[str, Any]:
    """Sums, the end on the wall with the gated variant after all others, and what sharing and early stops save."""
    first, gated = stages(jobs, GATED)
    walls = [finish(part, gpus) for part in (first, gated) if part]
    return {
        "runs": len(jobs),
        "rows": sum(len(job.rows) for job in jobs),
        "seconds": sum(job.seconds for job in jobs),
        "wall_seconds": sum(walls),
        "wall_seconds_of_stages": walls,
        "shared_saves_seconds": sum(job.alone - job.seconds for job in jobs),
        "stopped_run_saves_seconds": {
            variant: max(job.stopped_after(EPOCHS + 1) for job in jobs if job.variant == variant)
            for variant in dict.fromkeys(job.variant for job in jobs)
        },
    }


def as_json(told: dict[str, Any]) -> str:
    """One document."""
    return qat_artifacts.dumps(told).rstrip()


def as_text(told: dict[str, Any]) -> str:
    """A line for each arm of each variant, then the sum."""
    seeds, unit = ", ".join(map(str, told["seeds"])), _unit(told)
    at_once = f"{told['gpus']} {unit}{'' if told['gpus'] == 1 else 's'}"
    lines = [f"profile {told['profile']}, seeds {seeds}, {told['trajectory']} trajectory, {at_once}"]
    width = max(len(row["arm"]) for row in told["arms"])
    for row in told["arms"]:
        images = "images not known" if row["images"] is None else f"{row['images'][0]} + {row['images'][1]} images"
        lines.append(
            f"  {row['variant']}  {row['arm']:{width}}  {row['runs']} runs of {row['epochs']} epochs at "
            f"{row['imgsz']} px, batch {row['batch']}, {images}: {_cost(row)}"
        )
        lines.append(f"  {'':7}  {'':{width}}  {', '.join(row['rows'])}")
    total = told["total"]
    if total is None:
        lines.append(f"disk   {told['bytes'] / 1e9:.1f} GB beside the data")
        unknown = any(row["images"] is None for row in told["arms"])
        lines.append(
            "hours are not known: give --images TRAINING,VALIDATION, or correct --coco-root"
            if unknown
            else "hours are not known: measure here (--measure 20), or give files of qat-train pace (--pace)"
        )
        return "\n".join(lines)
    stages_ = total["wall_seconds_of_stages"]
    gate = f": {spell(stages_[0])}, then {GATED} after the gate, {spell(stages_[1])}" if len(stages_) == 2 else ""
    lines += [
        f"total  {total['runs']} training runs, {total['rows']} rows: {total['seconds'] / 3600:.1f} {unit}-hours, "
        f"{told['bytes'] / 1e9:.1f} GB beside the data",
        f"wall   {spell(total['wall_seconds'])} on {at_once}{gate}",
    ]
    if total["shared_saves_seconds"] > 0:
        lines.append(
            f"shared trajectories save {total['shared_saves_seconds'] / 3600:.1f} {unit}-hours: "
            f"{total['runs']} training runs instead of {total['rows']}"
        )
    saved = ", ".join(
        f"{seconds / 3600:.1f} for {name}" for name, seconds in total["stopped_run_saves_seconds"].items()
    )
    lines.append(f"--stop-doomed saves at most, for each run that collapses at once, {unit}-hours: {saved}")
    return "\n".join(lines)


def _unit(told: dict[str, Any]) -> str:
    """What works on a run: GPUs where one arm has them."""
    return "GPU" if any(row["processor"] == "GPU" for row in told["arms"]) else "CPU"


def _cost(row: dict[str, Any]) -> str:
    if row["seconds"] is None:
        return f"speed not known, {row['bytes'] / 1e9:.2f} GB"
    return (
        f"{row['epoch_seconds']:.1f} s an epoch ({row['source']}, {row['device']}), "
        f"{row['seconds'] / 3600:.1f} h, {row['bytes'] / 1e9:.2f} GB"
    )
