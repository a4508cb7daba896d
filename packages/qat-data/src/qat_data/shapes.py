"""Outlines of the six drawn classes, as polygons around the origin within radius 1."""

import math

Polygon = list[tuple[float, float]]

CLASSES = ("disc", "square", "triangle", "star", "ring", "cross")


def _around(radii: list[float], start: float = -math.pi / 2) -> Polygon:
    step = 2 * math.pi / len(radii)
    return [(r * math.cos(start + i * step), r * math.sin(start + i * step)) for i, r in enumerate(radii)]


def outlines(name: str) -> tuple[Polygon, Polygon | None]:
    """Outer polygon and hole of a class of `CLASSES`."""
    if name == "disc":
        return _around([1.0] * 48), None
    if name == "square":
        return _around([1.0] * 4, math.pi / 4), None
    if name == "triangle":
        return _around([1.0] * 3), None
    if name == "star":
        return _around([1.0, 0.42] * 5), None
    if name == "ring":
        return _around([1.0] * 48), _around([0.55] * 48)
    arm = 0.34
    cross = [
        (-arm, -1.0), (arm, -1.0), (arm, -arm), (1.0, -arm), (1.0, arm), (arm, arm),
        (arm, 1.0), (-arm, 1.0), (-arm, arm), (-1.0, arm), (-1.0, -arm), (-arm, -arm),
    ]  # fmt: skip
    return cross, None


def place(polygon: Polygon, *, x: float, y: float, radius: float, aspect: float, angle: float) -> Polygon:
    """Stretch by `aspect` (width over height), rotate by `angle` radians, scale to `radius` and move to (x, y)."""
    wide, high = radius * math.sqrt(aspect), radius / math.sqrt(aspect)
    cos, sin = math.cos(angle), math.sin(angle)
    return [(x + wide * u * cos - high * v * sin, y + wide * u * sin + high * v * cos) for u, v in polygon]
