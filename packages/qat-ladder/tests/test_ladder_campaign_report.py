"""campaign.md and its plots over a comparison of qat-report in which a run collapsed, one was cut, one is foreign."""

import hashlib
import json
import re
import statistics
import xml.etree.ElementTree as ET
from pathlib import Path

import attrs
import pytest
from invoke import Context

import qat_artifacts
from qat_ladder import tasks
from qat_ladder.campaign.evidence import Evidence, Result, gather, refresh
from qat_ladder.campaign.figure import finals_svg
from qat_ladder.campaign.file import Block, Campaign, Rows
from qat_ladder.campaign.page import render, write_report
from qat_ladder.errors import ConfigError

REPOSITORY = Path(__file__).parents[3]
REAL = REPOSITORY / "tests" / "contracts" / "golden" / "qat-report-comparison-1.0.json"
FP32, PTQ = 0.4375, 0.0625  # the references that it holds

MAIN = Rows(methods=("baseline", "ema", "ema+qc"), seeds=(0, 1, 2))
BLOCK = Block(
    name="w4",
    title="COCO128, 4 bits",
    variant="yolo10n",
    coco_root="$QAT_TEST_DATA/data/coco128",
    checkpoint="$QAT_TEST_DATA/my weights.pt",
    profile="full",
    set={"training.imgsz": 320, "training.lr0": 1e-4},
    rows=(MAIN, Rows(methods=("learned",), seeds=(0, 2), tier=2)),
)
CAMPAIGN = Campaign(name="first", command=("--file", "c.toml"), budget_hours=None, blocks=(BLOCK,))


FEWER = [{"bits": 4, "elements": 400}, {"bits": None, "elements": 16}]  # 4 bits a weight
LAYERS = [{"bits": 4, "elements": 300}, {"bits": 8, "elements": 100}, {"bits": None, "elements": 16}]  # 5 bits a weight


def artifact(path, schema, **body):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"schema": schema, "version": "1.0", "created_by": "x", "inputs": [], **body}))


def summary(
    root, method, seed, *, arm="shared", mode="w4a16", library="nvidia-modelopt", ptq=PTQ, seconds=None, layers=LAYERS
):
    """What the report reads of a row's summary and of its training run."""
    artifact(
        root / "yolo10n" / method.replace("+", "-") / f"seed{seed}" / "run_summary.json",
        "qat-report/run-summary",
        trajectory_id=f"yolo10n/{arm}/seed{seed}",
        quantization={"mode": mode, "library": library, "layers": layers if mode != "fp32" else []},
        metrics={"fp32": FP32, "ptq": ptq},
        artifacts={"run_json": f"../../../trajectories/yolo10n/{arm}/seed{seed}/run.json"},
    )
    run = root / "trajectories" / "yolo10n" / arm / f"seed{seed}" / "run.json"
    if seconds is not None:
        artifact(run, "qat-train/run", status="completed", training={"epochs": 12}, seconds=seconds)


@pytest.fixture
def root(tmp_path):
    """A campaign's root with one block: the real comparison, and what lay beside it."""
    block = tmp_path / "campaign" / "w4"
    block.mkdir(parents=True)
    (block / "comparison.json").write_bytes(REAL.read_bytes())
    for row in json.loads(REAL.read_text())["rows"]:
        if row["variant"] == "yolo10n":
            summary(block, row["method"], row["seed"], seconds=870.0 + row["seed"])
    seal(tmp_path / "campaign")
    return tmp_path / "campaign"


def seal(root):
    """The comparison names the summaries that lie there, as qat-report writes it."""
    path = root / "w4" / "comparison.json"
    files = sorted((root / "w4").rglob("run_summary.json"))
    refs = [{"schema": "file", "sha256": qat_artifacts.sha256_file(file), "path": "x"} for file in files]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"inputs": refs}))


def add(root, cell, finals, **of):
    """Another row in the comparison, and its summaries."""
    path = root / "w4" / "comparison.json"
    content = json.loads(path.read_text())
    model = content["cells"][0] | {"method": cell["method"]}
    content["cells"].append(model | cell)
    for seed, value in finals.items():
        row = {"method": cell["method"], "seed": seed, "final_value": value}
        row["summary"] = f"yolo10n/{cell['method'].replace('+', '-')}/seed{seed}/run_summary.json"
        content["rows"].append(content["rows"][0] | row)
        summary(root / "w4", cell["method"], seed, arm=cell["method"], **of)
    path.write_text(json.dumps(content))


def lines(root, campaign=CAMPAIGN):
    return render(campaign, gather(root, campaign.blocks), root).splitlines()


def row(found, name):
    """Cells of the table's row that begins with a name."""
    (line,) = (text for text in found if re.match(rf"\| \**{re.escape(name)}\** \|", text))
    return [cell.strip(" *") for cell in line.strip("| ").split(" | ")]


def test_the_table_holds_the_numbers_of_the_comparison(root):
    found = lines(root)
    assert row(found, "FP32, not quantized")[:5] == ["FP32, not quantized", "–", "–", "–", "0.4375"]
    assert row(found, "baseline") == [
        *("baseline", "5.00", "2 of 3", "0.0625", "0.3672", "0.3594 to 0.3750", "0.0110", "0.0312", "-0.0703", "–"),
        *("2 stable, 1 collapsed", "871 s"),
    ]
    paired = r"+0.0234 \[+0.0156, +0.0312\] (n = 2)"
    assert row(found, "ema+qc") == [
        *("ema+qc", "5.00", "2 of 4", "0.0625", "0.3906", "0.3750 to 0.4062", "0.0221", "0.3750", "-0.0469", paired),
        *("2 stable, 1 incomplete", "872 s"),
    ]


def test_findings_are_the_words_of_the_comparison_and_no_others(root):
    found = "\n".join(lines(root))
    plain = re.sub(r"\\(.)", r"\1", found)
    for sentence in json.loads(REAL.read_text())["verdict"]:
        assert f"- {sentence}\n" in plain


CLEAN = {"seeds": [0, 1], "counted_seeds": [0, 1], "classes": {"0": "stable", "1": "stable"}, "delta_baseline": None}


def against(found, ours=""):
    """A table of duels, by peer: the first, or that of a row of ours."""
    heads = (i for i, text in enumerate(found) if text.startswith("| peer |") and f"{ours} minus peer" in text)
    start = next(heads, len(found))
    table = [[cell.strip() for cell in text.strip("| ").split(" | ")] for text in found[start + 2 :]]
    return {cells[0]: cells[1:] for cells in table[: next((i for i, c in enumerate(table) if len(c) < 6), None)]}


def three(method, finals, **of):
    """A row of three seeds, all of which count."""
    cell = {"method": method, "seeds": [0, 1, 2], "counted_seeds": [0, 1, 2], "mean": sum(finals) / 3}
    return cell | {"classes": dict.fromkeys("012", "stable"), "delta_baseline": None}, dict(enumerate(finals)), of


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ((0.40, 0.41, 0.42), (0.37, 0.37, 0.38), "yes, and no seed of one reaches one of the other"),
        ((0.40, 0.43, 0.43), (0.38, 0.41, 0.41), "yes"),
        ((0.40, 0.43, 0.46), (0.39, 0.42, 0.45), "no"),  # every seed is ahead, by less than the spread
        ((0.40, 0.41, 0.42), (0.36, 0.36, 0.43), "no"),  # a seed is behind
    ],
)
def test_a_peer_is_beaten_where_every_seed_is_ahead_by_more_than_the_spread(root, ours, theirs, expected):
    for cell, finals, of in (
        three("learned+soft+ema", ours),
        three("peer-brevitas", theirs, library="brevitas"),
        three("peer-int8", (0.5, 0.5, 0.5), library="ultralytics", mode="w8a8"),
    ):
        add(root, cell, finals, **of)
    found = against(lines(root))
    assert set(found) == {"peer-brevitas"}, "another width is no contest"
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    assert found["peer-brevitas"] == [
        "5.00",
        f"{sum(theirs) / 3:.4f}",
        f"{sum(differences) / 3:+.4f} (n = 3)",
        ", ".join(f"{seed}: {value:+.4f}" for seed, value in enumerate(differences)),
        f"{max(statistics.stdev(ours), statistics.stdev(theirs)):.4f}",
        expected,
    ]


def test_two_seeds_beat_nobody_and_a_row_with_fewer_seeds_does_not_stand_for_ours(root):
    add(root, CLEAN | {"method": "bn", "mean": 0.38}, {0: 0.37, 1: 0.39})
    add(root, CLEAN | {"method": "qc", "mean": 0.9, "seeds": [0], "counted_seeds": [0]}, {0: 0.9})
    add(root, CLEAN | {"method": "peer-torch-ao", "mean": 0.2}, {0: 0.2, 1: 0.2}, library="torch.ao")
    found = lines(root)
    assert against(found)["peer-torch-ao"][2:] == [
        "+0.1800 (n = 2)",
        "0: +0.1700, 1: +0.1900",
        "0.0141",
        "fewer than 3 seeds",
    ]
    assert any("the same width: bn, our row" in line for line in found)


def test_a_peer_of_fewer_bits_also_meets_our_best_row_of_no_more(root):
    for cell, finals, of in (
        three("small-8+soft+ema", (0.40, 0.41, 0.42)),
        three("learned+ema", (0.38, 0.38, 0.39), layers=FEWER),
        three("learned-max", (0.30, 0.30, 0.30), layers=FEWER),
        three("peer-brevitas", (0.37, 0.37, 0.38), library="brevitas", layers=FEWER),
        three("peer-brevitas-small-8", (0.39, 0.39, 0.40), library="brevitas"),
    ):
        add(root, cell, finals, **of)
    found = lines(root)
    assert set(against(found, "small-8+soft+ema")) == {"peer-brevitas", "peer-brevitas-small-8"}, "the best meets all"
    narrow = against(found, "learned+ema")
    assert set(narrow) == {"peer-brevitas"}
    assert narrow["peer-brevitas"][:3] == ["4.00", "0.3733", "+0.0100 (n = 3)"]
    assert (
        "Against those of 4.00 bits a weight, our best of no more: learned+ema, our row with the highest mean, at 4.00 "
        "bits a weight." in found
    )
    assert sum(line.startswith("| peer |") for line in found) == 2


def test_where_no_row_of_ours_is_as_narrow_as_a_peer_the_best_alone_meets_it(root):
    add(root, *three("learned", (0.40, 0.41, 0.42))[:2])
    add(root, *three("peer-brevitas", (0.37, 0.37, 0.38))[:2], library="brevitas", layers=FEWER)
    found = lines(root)
    assert set(against(found)) == {"peer-brevitas"}
    assert not any("our best of no more" in line for line in found)


def test_the_best_row_is_quantized_and_every_planned_seed_of_it_counts(root):
    assert not any("**" in line for line in lines(root))  # of each row a seed collapsed or was cut off
    high = CLEAN | {"mean": 0.9}
    add(root, CLEAN | {"method": "bn", "mean": 0.38}, {0: 0.37, 1: 0.39})
    add(root, CLEAN | {"method": "qc", "mean": 0.37}, {0: 0.37, 1: 0.37})
    add(root, high | {"method": "fp32"}, {0: 0.9, 1: 0.9}, mode="fp32", ptq=None)
    add(root, high | {"method": "learned", "seeds": [0], "counted_seeds": [0]}, {0: 0.9})  # seed 2 is planned too
    add(root, high | {"method": "paper", "counted_seeds": [0]}, {0: 0.9, 1: 0.01}, ptq=0.0003)
    one = {"method": "soft-labels", "seeds": [0], "counted_seeds": [0], "classes": {"0": "stable"}}
    add(root, high | one, {0: 0.9})  # whole, and a single seed is no mean of two
    found = lines(root)
    assert [line for line in found if "**" in line] == [
        line for line in found if line.startswith("| **bn** | **5.00** | **2 of 2**")
    ]
    assert row(found, "learned")[2] == "1 of 2"
    assert row(found, "paper")[2] == "1 of 2"
    assert "| COCO128, 4 bits | 0.4375 | 0.0003 to 0.0625 | 0.3672 | bn | 0.3800 | – |" in "\n".join(found)


def test_a_quantizer_of_its_own_has_a_ptq_of_its_own(root):
    add(root, {"method": "paper"}, {0: 0.2, 1: 0.21}, ptq=0.0003)
    add(root, {"method": "fp32"}, {0: 0.3}, mode="fp32", ptq=0.35)
    found = lines(root)
    assert [row(found, name)[3] for name in ("baseline", "ema", "paper", "fp32")] == ["0.0625", "0.0625", "0.0003", "–"]
    assert not any("0.3500" in line for line in found)


def test_time_is_that_of_training_runs_each_once(root):
    add(root, {"method": "paper"}, {0: 0.2}, seconds=90.0)
    (evidence,) = gather(root, [BLOCK])
    assert sorted(evidence.seconds()) == [90.0, 870.0, 871.0, 872.0, 873.0]
    assert "| 5, 59 min |" in "\n".join(lines(root))
    assert row(lines(root), "paper")[-1] == "90 s"


def test_what_is_planned_and_not_there_is_named(root):
    assert "Planned and not there: learned seed 0, 2." in lines(root)
    empty = attrs.evolve(BLOCK, name="later", title="", rows=(MAIN,))
    found = lines(root, attrs.evolve(CAMPAIGN, blocks=(BLOCK, empty)))
    assert "## later" in found
    assert "Planned and not there: baseline seed 0, 1, 2; ema seed 0, 1, 2; ema+qc seed 0, 1, 2." in found
    assert "| later | – | – | – | – | – | – | 0 |" in found


def test_commands_keep_environment_variables_for_the_shell(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = lines(root)
    assert "    invoke campaign.run --file c.toml --root campaign" in found
    ladders = [line for line in found if line.startswith("    invoke ladder.n")]
    assert ladders == [
        f"    invoke ladder.n --seeds {seeds} --methods {methods} --coco-root $QAT_TEST_DATA/data/coco128 "
        '--checkpoint "$QAT_TEST_DATA/my weights.pt" --profile full --set training.imgsz=320 '
        "--set training.lr0=0.0001 --root campaign/w4"
        for seeds, methods in (("0,1,2", "baseline,ema,ema+qc"), ("0,2", "learned"))
    ]


def test_the_same_evidence_gives_the_same_bytes(root, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert write_report(CAMPAIGN, root, first) == first / "campaign.md"
    write_report(CAMPAIGN, root, second)
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert files == [Path("campaign.md"), Path("w4/comparison.json"), Path("w4/finals.svg")]
    for name in files:
        digests = {hashlib.sha256((folder / name).read_bytes()).hexdigest() for folder in (first, second)}
        assert len(digests) == 1, name
    assert (first / "w4" / "comparison.json").read_bytes() == (root / "w4" / "comparison.json").read_bytes()
    text = (first / "campaign.md").read_text()
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (first / link).is_file(), link


def test_a_summary_that_the_comparison_lacks_has_it_written_anew(root, products, tmp_path):
    write_report(CAMPAIGN, root, tmp_path / "out")
    assert products.calls() == []
    file = root / "w4" / "yolo10n" / "ema" / "seed0" / "run_summary.json"
    file.write_text(file.read_text() + "\n")
    write_report(CAMPAIGN, root, tmp_path / "out")
    ((product, command, *rest),) = products.calls()
    assert (product, command, rest) == (
        "qat-report",
        "compare",
        [str(root / "w4" / "yolo10n"), "--out", str(root / "w4")],
    )
    seal(root)
    refresh(root, [BLOCK])
    assert products.calls() == [], "nothing has changed since"
    file.unlink()
    seal(root)  # what is left has not changed, and one row of the comparison has no summary any more
    refresh(root, [BLOCK])
    assert len(products.calls()) == 1
    later = attrs.evolve(BLOCK, name="later")
    summary(root / "later", "baseline", 0)
    refresh(root, [later, attrs.evolve(BLOCK, name="never-begun")])
    assert len(products.calls()) == 1


SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    return ["".join(element.itertext()) for element in ET.fromstring(svg).iter(f"{SVG}text")]


def test_the_plot_names_rows_seeds_references_and_numbers(root):
    add(root, {"method": "paper", "counted_seeds": [0]}, {0: 0.39, 1: 0.001}, ptq=0.0003)
    (evidence,) = gather(root, [BLOCK])
    svg = finals_svg(evidence, "Final mAP50-95, COCO128")
    found = texts(svg)
    for text in ("baseline", "ema+qc", "paper", "seed 0", "seed 1", "FP32", "not counted", "final mAP50-95"):
        assert text in found
    assert "0.3672 · PTQ 0.0625" in found
    assert any(text.endswith("PTQ 0.0003") for text in found)
    title = ET.fromstring(svg).find(f"{SVG}title")
    assert title is not None
    assert title.text == "Final mAP50-95, COCO128"
    assert "paper seed 1: 0.0010, not counted" in svg
    assert "T00:" not in svg  # no time of its making


def test_marks_of_another_library_are_hollow(root):
    def hollow():
        (evidence,) = gather(root, [BLOCK])
        return finals_svg(evidence, "t").count("fill: #ffffff; stroke: ")

    before = hollow()
    add(root, {"method": "bn"}, {0: 0.38, 1: 0.39})
    assert hollow() == before
    add(root, {"method": "peer-torch-ao"}, {0: 0.38, 1: 0.39}, library="torch.ao")
    assert hollow() == before + 2


def result(**of):
    given = {"method": "m", "seed": 0, "final_value": 0.3, "counted": True, "mode": "w4a16", "fp32": None}
    return Result(
        **given | {"library": "nvidia-modelopt", "bits": 4.0, "ptq": None, "trajectory": "t", "seconds": None} | of
    )


@pytest.mark.parametrize(
    "results",
    [
        (),
        (result(final_value=None, counted=False),),
        (result(),),
        (result(fp32=0.3, ptq=0.3), result(seed=1, trajectory="u", fp32=0.3, ptq=0.3)),
        (result(final_value=0.0, counted=False), result(seed=1, final_value=1.0, fp32=1.0, ptq=0.0)),
    ],
)
def test_a_plot_can_be_drawn_of_whatever_there_is(root, results):
    (real,) = gather(root, [BLOCK])
    cell = attrs.evolve(real.cells[0], method="m", seeds=(0, 1), counted_seeds=(), mean=None, delta_baseline=None)
    evidence = Evidence(block=BLOCK, comparison=None, cells=(cell,) if results else (), results=results)
    assert ET.fromstring(finals_svg(evidence, "t")).tag == f"{SVG}svg"


def test_the_task_reads_the_record_of_the_root(root, tmp_path, capsys):
    def report(**flags):
        with pytest.raises(SystemExit) as ended:
            tasks.collection()["campaign.report"].body(Context(), root=str(root), **flags)
        shown = capsys.readouterr()
        return ended.value.code, shown.out, shown.err

    code, _, err = report()
    assert (code, "holds no campaign.json" in err) == (2, True)
    qat_artifacts.write(root / "campaign.json", CAMPAIGN, created_by="test 1")
    assert report(out=str(tmp_path / "out"))[:2] == (0, f"{tmp_path / 'out' / 'campaign.md'}\n")
    before = (root / "w4" / "comparison.json").stat()
    assert report()[:2] == (0, f"{root / 'campaign.md'}\n")
    assert (root / "w4" / "finals.svg").is_file()
    assert (root / "w4" / "comparison.json").stat() == before
    (root / "w4" / "comparison.json").write_text("[]")
    code, _, err = report()
    assert code == 3
    assert f"error: {root / 'w4' / 'comparison.json'}: a JSON object is expected" in err


def test_findings_stand_first_and_a_file_that_is_not_there_stops_the_report(root, tmp_path):
    notes = tmp_path / "findings.md"
    notes.write_text("## What was found\n\n*Nothing* that one seed can show.\n")
    page = write_report(CAMPAIGN, root, tmp_path / "out", findings=notes).read_text()
    head, _, rest = page.partition("*Nothing* that one seed can show.\n")
    assert head == "# Campaign first\n\n## What was found\n\n"
    assert rest.lstrip().startswith("invoke campaign.run --file c.toml"), "the command comes next"
    with pytest.raises(ConfigError, match=r"--findings .*none\.md: No such file or directory; give a Markdown file"):
        write_report(CAMPAIGN, root, tmp_path / "other", findings=tmp_path / "none.md")
    assert not (tmp_path / "other").exists()
