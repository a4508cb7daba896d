"""How long a call takes, INT4 against floating point, as a ratio of medians taken in one run."""

import statistics
import time

import numpy as np

from qat_train.export.record import Latency
from qat_train.export.runtime import open_session

WARM_UP = 3


def measure_latency(fp32: bytes, int4: bytes, *, imgsz: int, threads: int, calls: int = 30) -> Latency:
    """Time both graphs and the INT4 one with its weights computed at loading, taking turns, so that all share the load.

    Args:
        fp32: serialised graph in floating point.
        int4: serialised graph with INT4 weights.
        imgsz: side of the image, one at a time, of noise: time does not depend on what is seen.
        threads: of ONNX Runtime.
        calls: timed calls of each.
    """
    sessions = {
        "fp32": open_session(fp32, threads=threads),
        "int4": open_session(int4, threads=threads),
        "folded": open_session(int4, threads=threads, fold_weights=True),
    }
    images = np.random.default_rng(0).random((1, 3, imgsz, imgsz), dtype=np.float32)
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    for call in range(WARM_UP + calls):
        for name, session in sessions.items():
            started = time.perf_counter()
            session.run(None, {"images": images})
            if call >= WARM_UP:
                seconds[name].append(time.perf_counter() - started)
    medians = {name: 1000 * statistics.median(values) for name, values in seconds.items()}
    return Latency(
        imgsz=imgsz,
        threads=threads,
        calls=calls,
        fp32_ms=medians["fp32"],
        int4_ms=medians["int4"],
        int4_folded_ms=medians["folded"],
    )
