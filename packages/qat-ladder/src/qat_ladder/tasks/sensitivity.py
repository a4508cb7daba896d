"""`sensitivity.n|s|m`: what each layer alone loses."""

from typing import Any

from invoke import Collection

from qat_ladder.tasks.frame import flags_among, guard, help_of, request, task


def _scan(letter: str) -> Any:
    own = help_of(
        *("profile", "coco-root", "checkpoint", "trust-checkpoint", "device", "root", "config", "set"),
        budget="Average bits per quantized weight of the mixed policy; half a bit above its base without.",
    )

    @task(help=own, iterable=["config", "set"], name=letter)
    def body(  # noqa: PLR0917  # invoke makes a flag of every parameter
        _context: Any,
        profile: str = "",
        coco_root: str = "",
        checkpoint: str = "",
        trust_checkpoint: str = "",
        device: str = "",
        root: str = "runs/sensitivity",
        budget: str = "",
        config: Any = None,
        set: Any = None,
    ) -> None:
        flags = flags_among(locals())

        def run() -> int:
            from qat_ladder.sensitivity import run_sensitivity

            return run_sensitivity(request(f"yolo10{letter}", **flags), budget)

        guard(run)

    body.__doc__ = f"Measure what each layer of yolov10{letter} alone loses, and write a mixed policy within a budget."
    return body


def collection() -> Collection:
    """`sensitivity.n`, `sensitivity.s`, `sensitivity.m`."""
    return Collection("sensitivity", *map(_scan, "nsm"))
