"""Programs of the peers: what their own documentation does, given to an interpreter by `-c`.

Text, and no import of theirs: each is a program beside ours, and Ultralytics' licence is another than qat-ladder's.
"""

READ = "import sys; open(sys.argv[1], 'rb').read()"
TYPED = """\
import sys
from pathlib import Path
from qat_data.annotations import decode_annotations
decode_annotations(Path(sys.argv[1]).read_bytes(), sys.argv[1])
"""
JSON = "import json, sys; json.load(open(sys.argv[1], 'rb'))"
ORJSON = "import sys, orjson; orjson.loads(open(sys.argv[1], 'rb').read())"
PYCOCOTOOLS = "import sys; from pycocotools.coco import COCO; COCO(sys.argv[1])"
FASTER = "import sys; from faster_coco_eval import COCO; COCO(sys.argv[1])"
HOTCOCO = "import sys; from hotcoco import COCO; COCO(sys.argv[1])"
CONVERT = """\
import sys
from ultralytics.data.converter import convert_coco
convert_coco(sys.argv[1], sys.argv[2], use_segments=False, cls91to80=True)
"""
HASH = """\
import hashlib, sys
from pathlib import Path
for path in sorted(Path(sys.argv[1]).iterdir()):
    with path.open("rb") as stream:
        hashlib.file_digest(stream, "sha256").hexdigest()
"""
VERIFY = """\
import sys
from pathlib import Path
from ultralytics.data.utils import verify_image
for path in sorted(Path(sys.argv[1]).iterdir()):
    verify_image(((str(path), 0), ""))
"""

_NUMBERS = """
names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
print(json.dumps({name: f"{float(value):.9f}" for name, value in zip(names, found)}))
"""
_EVALUATE = """
truth = COCO(sys.argv[1])
evaluation = COCOeval(truth, truth.loadRes(sys.argv[2]), "bbox")
evaluation.evaluate()
evaluation.accumulate()
evaluation.summarize()
found = evaluation.stats[:12]
"""
EVALUATE_PYCOCOTOOLS = f"""\
import json, sys
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
{_EVALUATE}{_NUMBERS}"""
EVALUATE_FASTER = f"""\
import json, sys
from faster_coco_eval import COCO, COCOeval_faster as COCOeval
{_EVALUATE}{_NUMBERS}"""
EVALUATE_HOTCOCO = f"""\
import json, sys
from hotcoco import COCO, COCOeval
{_EVALUATE}{_NUMBERS}"""
EVALUATE_OURS = f"""\
import json, sys
from pathlib import Path
from qat_data import evaluate, read_annotations, read_detections
truth = read_annotations(Path(sys.argv[1]))
m = evaluate(truth, read_detections(Path(sys.argv[2]), truth)).metrics
found = (m.map50_95, m.map50, m.map75, m.map_small, m.map_medium, m.map_large,
         m.ar1, m.ar10, m.ar100, m.ar_small, m.ar_medium, m.ar_large)
{_NUMBERS}"""
PARSE = """\
import json, sys
from pathlib import Path
for path in Path(sys.argv[1]).rglob("run_summary.json"):
    json.loads(path.read_bytes())
"""
