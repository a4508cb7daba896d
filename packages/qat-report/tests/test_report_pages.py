import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qat_report import compare
from qat_report.markdown import escape
from qat_report.methods import ORDER

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


@pytest.fixture
def pages(ladder, tmp_path):
    def make(*parts):
        root, _ = ladder(*parts)
        compare([root], out=tmp_path / "out")
        return tuple((tmp_path / "out" / name).read_text(encoding="utf-8") for name in ("index.html", "summary.md"))

    return make


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
    html, _ = pages(hostile)
    found = Elements(html)
    assert "script" not in found.tags
    assert "<script" not in html
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert any(HOSTILE in text for text in found.text)


def test_hostile_name_is_one_cell_of_text_in_markdown(pages, hostile):
    _, page = pages(hostile)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; \\| x" in page
    for table in re.findall(r"(?:^\|.*\n)+", page, flags=re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1


@given(st.text(max_size=60))
def test_escaped_text_has_no_markup_and_is_one_line(text):
    found = escape(text)
    assert not set(found) & set("<>\n\r")
    assert re.search(r"(?<!\\)(?:\\\\)*[|`*\[\]]", found) is None


def test_numbers_are_not_disfigured_by_escaping():
    assert escape("+0.0040 and -0.1, ema+qc, metrics/mAP50-95(B), weight_bit_width") == (
        "+0.0040 and -0.1, ema+qc, metrics/mAP50-95(B), weight_bit_width"
    )


def test_page_is_one_offline_file_without_script(pages):
    html, _ = pages("good", "collapsed")
    found = Elements(html)
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert ("content", policy) in found.attributes
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(found.tags)
    assert "://" not in html
    assert "@import" not in html


def test_every_link_is_relative_and_leads_to_a_file_of_a_run(pages, tmp_path):
    html, _ = pages("good")
    links = [value for name, value in Elements(html).attributes if name == "href"]
    summaries = [link for link in links if link.endswith("run_summary.json")]
    assert len(summaries) == 10
    assert all((tmp_path / "out" / link).is_file() for link in summaries)


def test_every_plot_has_a_title_and_a_description(pages):
    html, _ = pages("good")
    plots = re.findall(r"<svg role=\"img\" aria-labelledby=\"([^\"]+)\"", html)
    assert plots == [
        f"{kind}-{variant}-title {kind}-{variant}-text"
        for variant in ("yolo10n", "yolo10s")
        for kind in ("series", "finals")
    ]
    assert '<title id="series-yolo10n-title">mAP50-95 per epoch, yolo10n</title>' in html
    assert "ema+qc seed 0: best 0.4062, final 0.4062, stable" in html


def test_ids_are_unique_over_all_plots(pages):
    html, _ = pages("good", "collapsed", "incomplete", "no number", "other val subset")
    ids = [value for name, value in Elements(html).attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_plots_take_every_colour_from_the_style_sheet(pages):
    html, _ = pages("good")
    plots = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    assert set(re.findall(r"#[0-9a-f]{6}\b", plots)) == set()
    assert "var(--method-2)" in plots


def test_page_says_verdict_first_and_what_is_not_comparable_with_the_paper(pages):
    html, page = pages("good")
    assert html.index('id="verdict"') < html.index('id="results-1"') < html.index('id="stability"')
    for text in (html, page):
        assert "its numbers are not comparable with these" in text


def test_page_without_any_number_is_still_drawn(pages):
    html, page = pages("no number")
    assert "no comparable run" not in page
    assert "No final value counts." in html
    assert ">nan<" not in html


def test_name_that_looks_like_a_formula_is_drawn_as_text(pages, ladder_row):
    html, _ = pages(ladder_row("good", 0, method="$x^2$"))
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
    html, page = pages(*rows, ladder_row("good", 1))
    line = "| yolo10n/seed0 | 6 | 6.25% above 0.02 | 0.00125 | 12,345 | 12,000 | 345 | baseline, ema |"
    assert page.count(line) == 1
    assert "yolo10n/seed1" not in page.partition("## Oscillation")[2].partition("## Notes")[0]
    assert "6.25% above 0.02" in html
    for text in (html, page):
        assert "Nagel et al., ICML 2022" in text


def test_without_a_tracked_run_there_is_no_section_on_oscillation(pages):
    html, page = pages("good")
    assert "Oscillation</h2>" not in html
    assert "## Oscillation" not in page


def test_scope_stands_with_rows_of_the_papers_granularity(pages, ladder_row):
    change = {"quantization.granularity": "per-tensor", "method.sets": ["quantization"]}
    html, page = pages("good", ladder_row("good", 0, method="paper", trajectory="paper/0", set=change))
    section = page.partition("## yolo10n\n")[2].partition("## yolo10s")[0]
    assert "paper: per tensor like the paper, and still weights alone. Only weights are quantized here" in section
    assert html.count("still weights alone") == 1


def test_differences_stand_with_interval_counts_and_worst_seed(pages):
    html, page = pages("good")
    assert "| ema minus baseline | 2 | +0.0195 | \\[+0.0156, +0.0234\\] | 2 / 0 | – | 0: +0.0156 |" in page
    assert "| ema+qc minus ema | 2 | +0.0039 |" in page
    assert "Differences, paired by seed" in html


def test_plot_says_which_correction_a_point_is_after(pages, ladder_row):
    html, _ = pages(*(ladder_row("good", 4, method=method) for method in ("ema+bn", "ema+qc", "ema+bn+qc")))
    for label in ("after BN", "after QC", "after BN + QC"):
        assert f">{label}</text>" in html


def test_every_known_method_fits_one_page(pages, ladder_row):
    rows = [ladder_row("good", 0, method=method, trajectory=method) for method in ORDER]
    html, page = pages(*rows)
    assert re.findall(r"^\| ([\w+-]+) \| 1 of 1", page, flags=re.MULTILINE) == list(ORDER)
    assert html.count("</svg>") == 2
