"""Which runs are trained at once, and what each has of the machine.

On this machine a place is a slot: a device, or several that train one run, and a share of the CPU threads. Schedulers
hand out devices themselves; there a place is no more than one of the runs that may be submitted at the same time.
"""

import os
from typing import Any

import attrs

from qat_ladder.config import Config
from qat_ladder.errors import ConfigError


@attrs.frozen(kw_only=True)
class Place:
    """What a run is given instead of its configuration's values; None where those stand.

    `device` is that of `training.device`: "0,1" are two for one run. `threads` are of each of its processes.
    """

    device: str | None = None
    threads: int | None = None

    def keys(self) -> dict[str, Any]:
        """Of [training] in a run.toml."""
        return {key: value for key, value in attrs.asdict(self).items() if value is not None}


def places_of(config: Config, runs: int) -> list[Place]:
    """Places of a stage of so many runs, at least one.

    `executor.jobs` 0 stands for one per slot, and for every run where a scheduler queues them.

    Raises:
        ConfigError: more jobs than slots, or slots where a scheduler hands out devices.
    """
    wanted, jobs = config.executor, config.executor.jobs
    slots = [slot.replace("+", ",") for slot in wanted.slots.split(",")] if wanted.slots else []
    if wanted.name != "local":
        if slots:
            raise ConfigError(
                f"executor.slots = {wanted.slots!r} are devices of this machine; with executor {wanted.name} the "
                f"scheduler hands them out, as [{wanted.name}] asks it to"
            )
        # Ray says what a run may take and leaves it at that: threads beyond it would be another run's.
        threads = None
        if wanted.name == "ray" and not config.training.threads:
            threads = max(1, config.ray.cpus // config.training.ranks)
        return [Place(threads=threads)] * (jobs or max(runs, 1))
    if slots and jobs > len(slots):
        raise ConfigError(
            f"executor.jobs = {jobs}, but executor.slots = {wanted.slots!r} hold {len(slots)}; a slot trains one run "
            "at a time: name a device twice to share it"
        )
    count = jobs or len(slots) or 1
    devices: list[str | None] = [*slots[:count]] or [None] * count
    share = None
    if count > 1 and not config.training.threads:
        processes = sum((device or config.training.device).count(",") + 1 for device in devices)
        share = max(1, len(os.sched_getaffinity(0)) // processes)
    for device in devices:
        if device and config.training.batch % (ranks := device.count(",") + 1):
            raise ConfigError(
                f"training.batch = {config.training.batch} cannot be divided among {ranks} devices of a slot"
            )
    return [Place(device=device, threads=share) for device in devices]
