"""docs/faults.md is written by a long session; this reads only the marks, so that the page can't name other cases."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def marks():
    """(case, text, file) of every fault mark, as it stands in the source."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
                case, text = (argument.value for argument in node.args)  # literals, or the page can't be checked
                yield case, text, path.relative_to(ROOT).as_posix()


def rows():
    """(case, text, file) of every row of the page."""
    for line in (ROOT / "docs/faults.md").read_text(encoding="utf-8").splitlines():
        if re.match(r"\| (B2|extra)-", line):
            case, text, _, test, _ = (part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1])
            yield case, text.replace("\\|", "|"), test.strip("`").partition("::")[0]


def test_the_fault_page_names_exactly_the_cases_that_have_tests():
    stale = "docs/faults.md is stale; `nox -s faults` writes it"
    assert set(rows()) == set(marks()), stale


def test_every_case_of_the_plan_has_a_test():
    missing = {f"B2-{number}" for number in range(1, 51)} - {case for case, _, _ in marks()}
    assert sorted(missing) == []
