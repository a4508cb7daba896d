"""Programs of the training group, given to an interpreter by `-c`; text, as those of the peers."""

# A step as a run makes it: images loaded, forward, backward, optimizer, tracker, average.
STEP = """\
import json, sys
from pathlib import Path
from qat_train.environment import prepare_environment, quiet_stdout
from qat_train.spec import read_spec
spec = read_spec(Path(sys.argv[1]))
threads = prepare_environment(spec.training.threads)
with quiet_stdout():
    from qat_train.pace import measure
    pace = measure(spec, steps=int(sys.argv[2]), threads=threads)
print(json.dumps({"seconds": pace.step_seconds, "spread": round(pace.step_spread, 4), "threads": threads}))
"""

# What every step adds to watch and to average: weights are moved as a small step would, which is not counted.
WATCH = """\
import json, statistics, sys, time
from pathlib import Path
from qat_train.environment import prepare_environment, quiet_stdout
from qat_train.spec import read_spec
spec = read_spec(Path(sys.argv[1]))
prepare_environment(spec.training.threads)
with quiet_stdout():
    import torch
    from qat_train.averaging import build_ema, schedule
    from qat_train.detector import convolution_sites, load_detector, make_trainable, reparameterise
    from qat_train.insertion import insert_quantizers, learn_scales
    from qat_train.oscillation import Tracker
    from qat_train.policy import assign_bits, load_policy
    model = load_detector(spec.model.checkpoint).model
    reparameterise(model)
    make_trainable(model)
    bits = assign_bits(load_policy(spec.quantization.policy), convolution_sites(model), spec.quantization.bits)
    insert_quantizers(model, bits, spec.quantization.granularity)
    if spec.quantization.learned:
        learn_scales(model)
    average, tracker = build_ema(model, schedule(spec.ema, 100)), Tracker(model, bits=spec.quantization.bits)
    seconds = []
    for _ in range(int(sys.argv[2]) + 2):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=1e-4)
        started = time.perf_counter()
        tracker.update()
        average.update(model)
        seconds.append(time.perf_counter() - started)
print(json.dumps({"seconds": statistics.median(seconds[2:]), "layers": len(tracker.layers)}))
"""
