"""The site says everything that the code offers, its pages are made from the code, and its links hold.

`nox -s docs` builds the site itself; these tests need neither mkdocs nor torch.
"""

import html
import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

import attrs
import click
import pytest
import tomli
import yaml

from qat_artifacts import Exit
from qat_gate.naming import row_of
from qat_ladder import tasks
from qat_ladder.flags import Request
from qat_ladder.plan import arm_of
from qat_train.spec import intervention_names

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
INCLUDE = re.compile(r"<!-- from README\.md(?:: (.+?))? -->")


PROBE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from generate.pages import generated
made = {place: (origin, make()) for place, (origin, make) in generated().items()}
heavy = [name for name in ("torch", "ultralytics", "modelopt", "mkdocs") if name in sys.modules]
print(json.dumps({"made": made, "heavy": heavy}))
"""


@pytest.fixture(scope="module")
def probed():
    done = subprocess.run([sys.executable, "-c", PROBE, str(DOCS)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def made(probed):
    """Markdown of every generated page by its place, with the file that its links start from."""
    return probed["made"]


@pytest.fixture
def generate(monkeypatch):
    """A module that makes pages, imported as docs/hooks.py does."""
    monkeypatch.syspath_prepend(str(DOCS))
    return lambda name: importlib.import_module(f"generate.{name}")


@pytest.fixture
def written(generate):
    return generate("pages").written()


def test_the_navigation_has_every_page_once_and_no_other(generate, made, written):
    asked = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    found = list(places(generate("pages").expand(asked, [*written, *made])))
    assert sorted(found) == sorted([*written, *made]), "name the page in nav of mkdocs.yml"


def places(entry):
    if isinstance(entry, str):
        yield entry
    else:
        for part in entry.values() if isinstance(entry, dict) else entry:
            yield from places(part)


def test_a_pattern_of_the_navigation_takes_what_is_named_nowhere_else(generate):
    asked = [{"A": "a/first.md"}, {"B": ["b.md", "a/*", {"C": ["c/*"]}]}]
    assert generate("pages").expand(asked, ["a/first.md", "a/y.md", "b.md", "a/x.md", "d.md"]) == [
        {"A": "a/first.md"},
        {"B": ["b.md", "a/x.md", "a/y.md", {"C": []}]},
    ]


def test_a_generated_page_lies_nowhere_as_a_file_that_could_go_stale(made):
    assert [place for place in made if (DOCS / place).exists()] == []


def test_pages_are_made_without_torch_and_without_mkdocs(probed):
    assert probed["heavy"] == []


def test_every_console_script_has_a_page_with_every_command_and_option(generate, made):
    commands = generate("commands")
    files = ROOT.glob("packages/*/pyproject.toml")
    projects = [tomli.loads(path.read_text(encoding="utf-8"))["project"] for path in files]
    assert sorted(name for project in projects for name in project.get("scripts", {})) == sorted(commands.PROGRAMS)
    for program in commands.PROGRAMS:
        _, page = made[f"reference/commands/{program}.md"]
        sections = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
        named = {section.partition("\n")[0]: section for section in sections}
        found = dict(leaves(commands.group(program), program))
        assert sorted(named) == sorted(found)
        for name, command in found.items():
            flags = [flag for parameter in command.params for flag in parameter.opts if flag.startswith("-")]
            assert [flag for flag in flags if f"<code>{flag}" not in named[name]] == []


def leaves(group, name):
    for word, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def test_a_command_that_is_added_is_in_the_page_with_its_help_option_and_range(generate, monkeypatch):
    commands = generate("commands")
    option = click.Option(["--depth"], type=click.IntRange(1, 9), default=3, help="How deep, `a|b` or <c>.")
    planted = click.Command("planted", params=[option], help="Does what was planted.")
    monkeypatch.setitem(commands.group("qat-gate").commands, "planted", planted)
    _, _, section = commands.page("qat-gate").partition("## qat-gate planted\n")
    assert "Does what was planted." in section
    meaning = "How deep, <code>a&#124;b</code> or &lt;c&gt;."
    row = f"| <code>--depth</code> | <code>integer, 1 to 9</code> | <code>3</code> | {meaning} |"
    assert row in section


def test_every_exit_code_is_explained(made):
    _, page = made["reference/commands/index.md"]
    assert [code.value for code in Exit if not re.search(rf"^\| {code.value} \| \w", page, re.MULTILINE)] == []


def test_every_task_of_invoke_is_there_with_its_help_and_its_flags(made):
    _, page = made["reference/tasks.md"]
    sections = {part.partition("\n")[0]: part for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:]}
    collection = tasks.collection()
    assert sorted(sections) == sorted(collection.task_names)
    for name, section in sections.items():
        task = collection[name]
        assert task.__doc__.strip().partition("\n")[0].partition("`")[0] in " ".join(html.unescape(section).split())
        assert [flag for flag in task.help if f"<code>--{flag}" not in section] == []


def test_every_key_that_a_ladder_resolves_to_is_explained(generate, made):
    keys = generate("configuration").all_keys()
    _, page = made["reference/configuration.md"]
    resolved = Request(variant="yolo10n", project=ROOT, seeds=[0], methods=["baseline"], root=Path("runs")).resolve(
        "baseline"
    )
    assert sorted(key for key in resolved.flat() if key not in keys) == []
    assert sorted(key for key in keys if f"<code>{key.rpartition('/')[2]}</code>" not in page) == []


def test_every_key_has_a_meaning_and_every_meaning_a_key(generate):
    configuration = generate("configuration")
    known, keys = configuration.meanings(), configuration.all_keys()
    missing = [key for key in keys if not known.get(key) and not known.get(key.removeprefix("run.toml/"))]
    assert missing == [], "write the meaning into docs/generate/meanings.toml"
    assert sorted(set(known) - set(keys)) == []


def test_a_range_is_what_the_program_says_of_a_wrong_value(generate):
    configuration = generate("configuration")

    @attrs.frozen(kw_only=True)
    class Section:
        share: float = attrs.field(default=0.5, validator=[attrs.validators.ge(0.25), attrs.validators.le(1.0)])
        mode: Literal["a", "b"] = "a"

    assert [configuration.spell(kind) for kind in (float, Literal["a", "b"], int | Literal["auto"])] == [
        "number",
        '"a" | "b"',
        'integer | "auto"',
    ]
    found = [configuration.limits(Section, field, field.type) for field in attrs.fields(Section)]
    assert found == [[">= 0.25", "<= 1.0"], []]


def test_every_method_profile_variant_and_intervention_is_listed(made):
    _, configuration = made["reference/configuration.md"]
    _, methods = made["reference/methods.md"]
    for kind in ("profiles", "variants"):
        assert [path.stem for path in (ROOT / "configs" / kind).glob("*.toml") if path.stem not in configuration] == []
    assert [name for name in intervention_names() if f"interventions.{name}" not in configuration] == []
    files = sorted((ROOT / "configs" / "methods").glob("*.toml"))
    assert [path.name for path in files if f"configs/methods/{path.name})" not in methods] == []


@pytest.mark.parametrize("path", sorted((DOCS / "schemas").glob("*.json")), ids=lambda path: path.stem)
def test_every_schema_has_a_page_with_every_field(path, made):
    document = json.loads(path.read_text(encoding="utf-8"))
    _, page = made[f"reference/artifacts/{path.stem}.md"]
    assert page.startswith(f"# {document['title']}\n")
    objects = [document, *(kind for kind in document["$defs"].values() if f"## {kind.get('title')}\n" in page)]
    fields = {name for kind in objects for name in kind.get("properties", {})}
    assert len(objects) == 1 + len(document["$defs"])
    header = {"schema", "version", "created_by", "inputs"}  # said once, in docs/artifacts.md
    assert sorted(name for name in fields - header if f"<code>{name}</code>" not in page) == []


def test_the_contract_says_of_every_schema_who_writes_and_reads_it(generate):
    artifacts = generate("artifacts")
    schemas = sorted(artifact.schema for artifact in artifacts.all_artifacts())
    assert schemas == sorted(artifacts.contract()), "the table of docs/artifacts.md lacks a row, or has one too many"


def test_every_link_of_every_page_leads_to_a_page_or_a_file(generate, made, written):
    links = generate("links")
    texts = {f"docs/{place}": (DOCS / place).read_text(encoding="utf-8") for place in written}
    texts |= dict(made.values())
    pages = {*written, *made}
    broken = [
        f"{origin}: {target}"
        for origin, text in texts.items()
        for target in links.targets(text, origin)
        if links.place(target) not in pages and not (ROOT / target).is_file()
    ]
    assert broken == []


def test_a_link_out_of_docs_leads_to_a_page_that_shows_the_file(generate):
    links = generate("links")
    text = (
        "`f[0](x)` [gate](../configs/gate.toml#x) [own](methods.md) [away](https://example.org/a.md) "
        "[packages](../packages/qat-qc)"
    )
    assert links.rewrite(text, "docs/methods.md", "methods.md") == (
        "`f[0](x)` [gate](sources/configs/gate.toml.md#x) [own](methods.md) [away](https://example.org/a.md) "
        "[packages](packages/qat-qc.md)"
    )
    assert links.outside(text, "docs/methods.md") == ["configs/gate.toml"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('<script defer src="https://cdn.example/x.js"></script>', 1),
        ("<link rel=stylesheet href=//fonts.example/css>", 1),
        ("@import url('https://fonts.example/css');", 1),
        ('<link rel="canonical" href="https://own.example/">', 0),
        ('<a href="https://example.org">away</a> <img src="figures/flow.svg"> <script src="assets/x.js">', 0),
    ],
)
def test_what_a_page_would_fetch_from_another_host_is_found(generate, text, found):
    assert len(generate("offline").fetched(text)) == found


def test_examples_of_docstrings_are_fenced_and_the_text_around_them_is_not(generate):
    pytest.importorskip("griffe", reason="of mkdocstrings, which `nox -s docs` installs")
    text = "Says.\n\n>>> f(\n...     1)\n2\n\nAnd more."
    fenced = "Says.\n\n```pycon\n>>> f(\n...     1)\n2\n```\n\nAnd more."
    assert generate("doctests").fenced(text) == fenced


def test_the_first_page_is_made_of_lines_that_the_readme_has(generate):
    papers = generate("papers")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    asked = re.findall(INCLUDE, (DOCS / "index.md").read_text(encoding="utf-8"))
    assert "Two lines" in asked
    for heading in asked:
        part = papers.section(readme, heading) if heading else papers.introduction(readme)
        assert part.strip() in readme
        assert len(part.splitlines()) > 2
    with pytest.raises(KeyError, match="no heading 'Three lines'"):
        papers.section(readme, "Three lines")


def test_the_method_of_the_guide_is_one_that_the_ladder_takes(tmp_path):
    page = (DOCS / "how-to" / "add-a-method.md").read_text(encoding="utf-8")
    text = re.search(r"```toml\n(.*?)```", page, re.DOTALL)[1]
    name = tomli.loads(text)["method"]["name"]
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    (tmp_path / "configs" / "methods" / f"{name.replace('+', '-')}.toml").write_text(text, encoding="utf-8")
    request = Request(variant="yolo10n", project=tmp_path, seeds=[0], methods=[name], root=tmp_path / "runs")
    resolved = request.resolve(name)
    config = resolved.config
    assert (config.method.name, config.method.weights, config.method.correction) == (name, "ema", True)
    assert (config.quantization.policy, config.interventions) == ("small-8", {"dampening": 0.1})
    assert arm_of(resolved, "shared") == "dampening-0.1_policy-small-8"
    assert row_of(name) == row_of("ema+qc")
    assert name in page.partition("```toml")[2].partition("```")[2]


def test_the_file_of_keys_of_the_guide_is_one_that_the_ladder_takes(tmp_path):
    page = (DOCS / "how-to" / "own-data.md").read_text(encoding="utf-8")
    file = tmp_path / "cells.toml"
    file.write_text(re.search(r"```toml\n(.*?)```", page, re.DOTALL)[1], encoding="utf-8")
    made = {"project": ROOT, "seeds": [0], "methods": ["ema"], "root": tmp_path / "runs"}
    config = Request(variant="yolo10n", config=(str(file),), profile="short", **made).resolve("ema").config
    assert config.data.coco_root.endswith("path/to/cells")
    assert (config.data.train_json, config.data.val_dir) == ("annotations/train.json", "images/valid")
    assert (config.training.imgsz, config.training.epochs) == (192, 12)


def test_pictures_are_those_that_the_script_draws():
    script = (DOCS / "concepts" / "draw.py").read_text(encoding="utf-8")
    drawn = sorted(re.findall(r'picture\.write\("(\w+)"\)', script))
    assert sorted(path.stem for path in (DOCS / "concepts" / "figures").iterdir()) == drawn
    shown = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "concepts").glob("*.md"))
    assert [name for name in drawn if f"(figures/{name}.svg)" not in shown] == []


@pytest.mark.slow
def test_pictures_are_drawn_again_with_the_same_parts(tmp_path):
    script = tmp_path / "concepts" / "draw.py"
    script.parent.mkdir()
    shutil.copy(DOCS / "concepts" / "draw.py", script)
    subprocess.run([sys.executable, script], check=True)
    for path in (DOCS / "concepts" / "figures").iterdir():
        kept, again = (file.read_text(encoding="utf-8") for file in (path, script.parent / "figures" / path.name))
        assert parts(again) == parts(kept)


def parts(picture):
    """Elements and words of an SVG; numbers may differ in the last digits between CPUs."""
    return re.findall(r"<\w+|>[^<]+<", re.sub(r"-?\d+(\.\d+)?", "0", picture))
