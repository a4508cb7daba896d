import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from qat_report import compare
from qat_report.methods import ORDER
from qat_report.pictures import MOST_BYTES, MOST_EMBEDDED

HOSTILE = "<script>alert(1)</script> | x"


class Elements(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data):
        self.text.append(data)


def read(folder, name):
    return (folder / name).read_text(encoding="utf-8")


@pytest.fixture
def hostile(ladder_row):
    changes = {
        "run_id": HOSTILE,
        "trajectory_id": HOSTILE,
        "method.variant": HOSTILE,
        "dataset.coco_root": f"/data/{HOSTILE}",
        "git.branch": HOSTILE,
        "versions": {"qat-train": "0.1.0", HOSTILE: HOSTILE},
        "artifacts.results_csv": 'x" onclick="alert(1)',
        "error": HOSTILE,
    }
    return ladder_row("good", 0, method="hostile", set=changes)


def test_hostile_name_is_text_in_html(pages, hostile):
    html = pages(hostile).html
    found = Elements(html)
    assert "script" not in found.tags
    assert "<script" not in html
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert any(HOSTILE in text for text in found.text)


def test_hostile_name_is_one_cell_of_text_in_markdown(pages, hostile):
    page = pages(hostile).markdown
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; \\| x" in page
    for table in re.findall(r"(?:^\|.*\n)+", page, flags=re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1


def test_page_is_one_offline_file_without_script(pages):
    html = pages("good", "collapsed").html
    found = Elements(html)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form", "img"} & set(found.tags)
    assert "://" not in html
    assert "@import" not in html


def test_policy_allows_the_pages_one_style_sheet_by_its_hash_and_nothing_else(good):
    html = read(good, "index.html")
    (style,) = re.findall(r"<style>(.*?)</style>", html, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert ("content", policy) in Elements(html).attributes
    assert "style" not in {name for name, _ in Elements(html).attributes}


def test_every_link_is_relative_and_leads_to_a_file_of_a_run(good):
    html = read(good, "index.html")
    links = [value for name, value in Elements(html).attributes if name == "href"]
    summaries = [link for link in links if link.endswith("run_summary.json")]
    assert len(summaries) == 10
    assert all((good / link).is_file() for link in summaries)


def test_every_plot_has_a_title_and_a_description(good):
    html = read(good, "index.html")
    plots = re.findall(r"<svg role=\"img\" aria-labelledby=\"([^\"]+)\"", html)
    assert plots == [
        f"{kind}-{variant}-title {kind}-{variant}-text"
        for variant in ("yolo10n", "yolo10s")
        for kind in ("finals", "series")
    ]
    assert '<title id="series-yolo10n-title">mAP50-95 per epoch, yolo10n</title>' in html
    assert "ema+qc seed 0: best 0.4062, final 0.4062, stable" in html


def test_ids_are_unique_over_all_plots(pages):
    html = pages("good", "collapsed", "incomplete", "no number", "other val subset").html
    ids = [value for name, value in Elements(html).attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_plots_take_every_colour_from_the_style_sheet(good):
    html = read(good, "index.html")
    plots = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    assert re.findall(r"#[0-9a-f]{6}\b|rgb\(|\bfill=|\bstroke=", plots) == []
    classes = set(re.findall(r'class="(p\d+)"', plots))
    rules = dict(re.findall(r"^\.(p\d+) \{ (.*) \}$", html, flags=re.MULTILINE))
    assert classes == rules.keys()
    assert any("var(--method-2)" in rule for rule in rules.values())
    assert not any("#0000" in rule for rule in rules.values())  # a stand-in that was not replaced


def test_page_says_verdict_first_and_what_is_not_comparable_with_the_paper(good):
    html, page = read(good, "index.html"), read(good, "summary.md")
    assert html.index('id="verdict"') < html.index('id="results-1"') < html.index('id="stability"')
    answers = re.findall(r"<dt>(.*?)</dt>", html)
    assert answers == ["May yolo10m start?", "Does EMA+QC help?", "How sure is this?"]
    assert page.splitlines()[4:7] == [
        "- **May yolo10m start?** Not evaluated: no gate has decided on these rows.",
        "- **Does EMA+QC help?** yolo10n: cannot be said from 2 seeds (+0.0234 \\[+0.0156, +0.0312\\]). "
        "yolo10s: cannot be said from 2 seeds (+0.0195 \\[+0.0156, +0.0234\\]).",
        "- **How sure is this?** 10 of 10 rows stable, from 4 training runs; 2 comparable seeds of each method. Fewer "
        "than 3 never call a difference. A method that fails in half of its runs would look as clean over 2 seeds in "
        "25.0% of cases.",
    ]
    for text in (html, page):
        assert "its numbers are not comparable with these" in text


def test_page_without_any_number_is_still_drawn(pages):
    made = pages("no number")
    html, page = made.html, made.markdown
    assert "no comparable run" not in page
    assert "No final value counts." in html
    assert ">nan<" not in html


def test_name_that_looks_like_a_formula_is_drawn_as_text(pages, ladder_row):
    html = pages(ladder_row("good", 0, method="$x^2$")).html
    assert "$x^2$" in html


MOVED = {
    "momentum": 0.01,
    "threshold": 0.02,
    "frequency": 0.00125,
    "share": 0.0625,
    "switches": 12345,
    "by_weight": 12000,
    "by_scale": 345,
    "epoch": 6,
}


def test_oscillation_is_told_once_for_the_rows_of_a_training_run(pages, ladder_row):
    rows = [ladder_row("good", i, set={"oscillation": MOVED}) for i in (0, 2)]
    made = pages(*rows, ladder_row("good", 1))
    html, page = made.html, made.markdown
    line = "| yolo10n/seed0 | 6 | 6.25% above 0.02 | 0.00125 | 12,345 | 12,000 | 345 | baseline, ema |"
    assert page.count(line) == 1
    assert "yolo10n/seed1" not in page.partition("## Oscillation")[2].partition("## Notes")[0]
    assert "6.25% above 0.02" in html
    for text in (html, page):
        assert "Nagel et al., ICML 2022" in text


def test_without_a_tracked_run_there_is_no_section_on_oscillation(good):
    html, page = read(good, "index.html"), read(good, "summary.md")
    assert "Oscillation</h2>" not in html
    assert "## Oscillation" not in page


def test_scope_stands_with_rows_of_the_papers_granularity(pages, ladder_row):
    change = {"quantization.granularity": "per-tensor", "method.sets": ["quantization"]}
    made = pages("good", ladder_row("good", 0, method="paper", trajectory="paper/0", set=change))
    html, page = made.html, made.markdown
    section = page.partition("## yolo10n\n")[2].partition("## yolo10s")[0]
    assert "paper: per tensor like the paper, and still weights alone. Only weights are quantized here" in section
    assert html.count("still weights alone") == 1


def test_differences_stand_with_interval_counts_and_worst_seed(good):
    html, page = read(good, "index.html"), read(good, "summary.md")
    assert "| ema minus baseline | 2 | +0.0195 | \\[+0.0156, +0.0234\\] | 2 / 0 | – | 0: +0.0156 |" in page
    assert "| ema+qc minus ema | 2 | +0.0039 |" in page
    assert "Differences, paired by seed" in html


def test_plot_says_which_correction_a_point_is_after(pages, ladder_row):
    html = pages(*(ladder_row("good", 4, method=method) for method in ("ema+bn", "ema+qc", "ema+bn+qc"))).html
    for label in ("after BN", "after QC", "after BN + QC"):
        assert f">{label}</text>" in html


def test_every_known_method_fits_one_page(pages, ladder_row):
    rows = [ladder_row("good", 0, method=method, trajectory=method) for method in ORDER]
    made = pages(*rows)
    html, page = made.html, made.markdown
    assert re.findall(r"^\| ([\w+-]+) \| 1 of 1", page, flags=re.MULTILINE) == list(ORDER)
    assert html.count("</svg>") == 2


def test_event_is_marked_in_the_series_and_named_in_the_table(pages, ladder_row):
    events = [{"epoch": 3, "kind": "nan-loss", "detail": "box"}, {"epoch": 4, "kind": "surprise", "detail": ""}]
    made = pages(ladder_row("good", 0, set={"stability.events": events}))
    html, page = made.html, made.markdown
    assert {">nan-loss</text>", ">other event</text>"} <= set(re.findall(r">[a-z -]+</text>", html))
    assert "nan-loss at epoch 3; surprise at epoch 4" in page


def test_many_seeds_are_one_bundle_and_no_list_of_fifty(pages, ladder_row):
    html = pages(*(ladder_row("good", 0, seed=seed) for seed in range(12)), ladder_row("good", 6)).html
    assert 'rests on yolo10n baseline, seeds <a href="#row-0">0</a> to <a href="#row-11">11</a> (12)</span>' in html
    assert ">12 seeds</text>" in html
    assert ">seed 1</text>" not in html


def test_what_was_given_beside_the_shipped_files_stands_with_its_rows(pages, ladder_row):
    rows = [ladder_row("good", i, set={"training.overrides": {"training.lr0": 0.1, "seed": i}}) for i in (0, 1)]
    page = pages(*rows).markdown
    assert "| training.lr0 | 0.1 | all |" in page
    assert "| seed | 1 | yolo10n/seed1/baseline |" in page


def test_forty_methods_are_told_apart_by_name_and_place(pages, ladder_row):
    methods = [*ORDER, *(f"another-{i:02}" for i in range(40 - len(ORDER)))]
    html = pages(*(ladder_row("good", 0, method=method, trajectory=method) for method in methods)).html
    finals, series = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    rows = [(float(y), name) for y, name in re.findall(r'<text [^>]*?y="([\d.]+)"[^>]*>([\w+-]+)</text>', finals)]
    names = dict.fromkeys(methods)
    heights = [y for y, name in rows if name in names]
    assert len(heights) == 40
    assert min(b - a for a, b in pairwise(sorted(heights))) > 12  # of text 9.5 high
    assert [name for name in re.findall(r">([\w+-]+)</text>", series) if name in names] == methods
    assert html.count('<span class="key ink-other"></span>') == 2 * (40 - 6)  # in the tables of methods and of runs
    assert "By method: 40 sentences" in html


def test_many_tracked_arms_have_a_panel_each(traced, pages_of):
    root = traced(seeds=range(5), methods=("baseline",))
    for number, path in enumerate(sorted(root.rglob("run_summary.json"))):
        document = json.loads(path.read_text(encoding="utf-8"))
        document["method"]["variant"] = f"arm-{number}"
        path.write_text(json.dumps(document), encoding="utf-8")
    html = pages_of(root).html
    (drawn,) = re.findall(r'<svg role="img" aria-labelledby="oscillation-.*?</svg>', html, flags=re.DOTALL)
    assert [name for name in re.findall(r">([\w-]+)</text>", drawn) if name.startswith("arm-")] == [
        f"arm-{number}" for number in range(5)
    ]
    assert "a panel per arm, named by its first row" in html


@pytest.mark.slow
def test_page_of_sixty_runs_with_all_that_lies_behind_them_is_below_a_megabyte(traced, tmp_path):
    classes = [f"class {i}" for i in range(80)]

    def fill(number, line):
        for series in ("raw", "ema"):
            line[series]["per_class"] = dict.fromkeys(classes, 0.3)
        layers = line["oscillation"]["layers"]
        layers.update({f"model.{i}.one2one_cv3.{i}.conv": layers["model.1"] for i in range(90)})

    root = traced(seeds=range(20), change=fill)
    assert len(compare([root], out=tmp_path / "out").rows) == 60
    page = (tmp_path / "out/index.html").read_bytes()
    assert b"layers-yolo10n-title" in page
    pictures = MOST_EMBEDDED * MOST_BYTES * 4 // 3  # base64; the page of one variant has one at most
    assert len(page) + pictures < 1_000_000


@pytest.mark.slow
def test_browser_with_javascript_off_shows_verdict_tables_and_plots(shown, ladder, hostile, tmp_path):
    probe = tmp_path / "probe.html"
    probe.write_text(
        "<p id=a>off</p><script>document.getElementById('a').textContent = 'on'</script>", encoding="utf-8"
    )
    assert '<p id="a">off</p>' in shown(probe).stdout  # it is off
    root, _ = ladder("good", "collapsed", hostile)
    compare([root], out=tmp_path / "out")
    done = shown(tmp_path / "out/index.html")
    found = Elements(done.stdout)
    assert (found.tags.count("svg"), "script" in found.tags) == (4, False)
    assert found.tags.count("table") >= 8
    assert "Does EMA+QC help?" in found.text
    assert any(HOSTILE in text for text in found.text)
    assert "Content Security Policy" not in done.stderr  # a breach of the policy is logged under this name
