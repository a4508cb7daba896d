"""Text that Markdown shows as it is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qat_report.markdown import escape, render
from qat_report.tables import Table
from qat_report.wording import shorten, visible

NAMES = [
    "a|b", "`code`", "two\nlines", "<b>bold</b>", "x" * 5000, "$x^2$", "\\|", "**", "~~a~~", "[a](b)", "&lt;",
    "---", "\u202eabc", "\x00", "", " | ", "_a_", "__0__", "a__b_", "# a", "\\", "a\\",
]  # fmt: skip


def cells_of(text):
    """What GitHub's dialect makes of a page: the text of every cell of its tables."""
    parser = pytest.importorskip("markdown_it", reason="needs markdown-it-py").MarkdownIt("commonmark").enable("table")
    tokens = parser.parse(text)
    assert tokens[0].type == "table_open"
    assert tokens[-1].type == "table_close"
    inline = [token for token in tokens if token.type == "inline"]
    assert {child.type for token in inline for child in token.children} <= {"text", "text_special"}
    return ["".join(child.content for child in token.children) for token in inline]


@pytest.mark.parametrize("name", NAMES)
def test_table_holds_any_name_as_one_cell_of_text(name):
    found = cells_of(render(Table(columns=("run", name), rows=((name, "1"), ("last", name)))))
    shown = visible(shorten(name))
    assert found == ["run", shown, shown, "1", "last", shown]


@given(st.text(max_size=60))
def test_table_holds_any_text_as_one_cell_of_text(text):
    shown = visible(text)
    assert cells_of(render(Table(columns=("run", "b"), rows=((text, text),)))) == ["run", "b", shown, shown]


def test_long_name_keeps_both_ends_and_hidden_characters_leave_a_mark():
    assert shorten("a" * 300 + "b" * 300) == "a" * 200 + " … " + "b" * 200
    assert visible("a\u202eb\x00c\ud800\n d") == "a\ufffdb\ufffdc\ufffd d"


@given(st.text(max_size=60))
def test_escaped_text_has_no_markup_and_is_one_line(text):
    found = escape(text)
    assert not set(found) & set("<>\n\r")
    assert re.search(r"(?<!\\)(?:\\\\)*[|`*\[\]]", found) is None


def test_numbers_are_not_disfigured_by_escaping():
    assert escape("+0.0040 and -0.1, ema+qc, metrics/mAP50-95(B), weight_bit_width") == (
        "+0.0040 and -0.1, ema+qc, metrics/mAP50-95(B), weight_bit_width"
    )
