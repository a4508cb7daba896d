"""The run that is asked for, and the plan of cells: what evidence is held against, beside the policy.

Narrow views of ladder/request 1.x and ladder/plan 1.x; both may be written by hand.
"""

from typing import ClassVar, Literal, get_args

import attrs

from qat_gate.summaries import Layer, Scale

Profile = Literal["tiny", "demo", "smoke", "short", "full"]
PROFILES: tuple[Profile, ...] = get_args(Profile)  # by how much a run under them shows, least first


@attrs.frozen(kw_only=True)
class RequestedModel:
    """Which detector at which image size, in pixels."""

    variant: str
    imgsz: int


@attrs.frozen(kw_only=True)
class RequestedQuantization:
    """How it is to be quantized; `layers` lists what the policy makes of this detector (empty: not known)."""

    mode: str
    granularity: str
    scale: Scale
    policy: str
    layers: tuple[Layer, ...]


@attrs.frozen(kw_only=True)
class RequestedData:
    """On which images; a fingerprint of None is not known yet."""

    fingerprint: str | None


@attrs.frozen(kw_only=True)
class Request:
    """request.json. `drawn`: the data are drawn, not real."""

    SCHEMA: ClassVar[str] = "ladder/request"
    VERSION: ClassVar[str] = "1.0"

    profile: str
    drawn: bool
    model: RequestedModel
    quantization: RequestedQuantization
    dataset: RequestedData
    versions: dict[str, str]


@attrs.frozen(kw_only=True)
class PlannedCell:
    """One run that the plan names."""

    variant: str
    method: str
    seed: int


@attrs.frozen(kw_only=True)
class Plan:
    """ladder.json."""

    SCHEMA: ClassVar[str] = "ladder/plan"
    VERSION: ClassVar[str] = "1.0"

    cells: tuple[PlannedCell, ...]
