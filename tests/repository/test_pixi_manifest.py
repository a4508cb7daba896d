"""pixi.toml: valid by pixi's own schema, and true to packages, nox sessions and invoke tasks.

The solver itself is not run: no pixi binary is needed for these checks.
"""

import ast
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import tomli

from qat_ladder.upkeep import CHECKS

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("QAT_TEST_DATA", ROOT.parent / "shared"))
MANIFEST = tomli.loads((ROOT / "pixi.toml").read_text(encoding="utf-8"))  # TOML 1.0; pixi itself would read 1.1


def faults(manifest):
    """What pixi's schema says against a manifest, each with its path."""
    path = DATA / "schemas" / "pixi.schema.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent: set QAT_TEST_DATA to the folder that holds schemas/pixi.schema.json")
    schema = json.loads(path.read_text(encoding="utf-8"))
    return [(error.json_path, error.message) for error in jsonschema.Draft7Validator(schema).iter_errors(manifest)]


def commands():
    """(task, words of its command) for every choice of its arguments."""
    for name, task in MANIFEST["tasks"].items():
        texts = [task["cmd"]]
        for argument in task.get("args", []):
            slot = f"{{{{ {argument['arg']} }}}}"
            assert slot in task["cmd"], f"task {name} never uses its argument {argument['arg']}"
            texts = [text.replace(slot, value) for text in texts for value in argument.get("choices", [""])]
        yield from ((name, shlex.split(text)) for text in texts)


def nox_sessions():
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and any("nox.session" in ast.unparse(d) for d in node.decorator_list)
    }


def invoke_tasks():
    """Dotted names of every task that `invoke` finds in the repository root."""
    if not (ROOT / "tasks.py").is_file():
        pytest.skip("tasks.py is absent")
    listing = [sys.executable, "-m", "invoke", "--list", "--list-format", "json"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)

    def walk(collection, prefix=""):
        for task in collection["tasks"]:
            yield prefix + task["name"]
        for inner in collection["collections"]:
            yield from walk(inner, f"{prefix}{inner['name']}.")

    return set(walk(json.loads(done.stdout)))


def test_manifest_is_valid_by_the_schema_of_pixi():
    assert faults(MANIFEST) == []


def test_the_schema_catches_a_misspelt_key_and_names_it():
    assert faults(MANIFEST | {"task": {}}) == [
        ("$", "Additional properties are not allowed ('task' was unexpected)"),
    ]


def test_every_package_is_an_editable_path_dependency_under_its_own_name():
    paths = {name: spec for name, spec in MANIFEST["pypi-dependencies"].items() if isinstance(spec, dict)}
    projects = {
        tomli.loads(file.read_text(encoding="utf-8"))["project"]["name"]: file.parent.relative_to(ROOT).as_posix()
        for file in ROOT.glob("packages/*/pyproject.toml")
    }
    extras = {"qat-train": {"extras": ["export"]}}
    assert paths == {name: {"path": path, "editable": True} | extras.get(name, {}) for name, path in projects.items()}


def test_environments_cpu_and_cu128_exist_and_cuda_pytorch_comes_from_conda_forge():
    assert MANIFEST["workspace"]["channels"] == ["conda-forge"]
    assert {"cpu", "cu128"} <= set(MANIFEST["environments"])
    platforms = {platform["name"]: platform.get("cuda") for platform in MANIFEST["workspace"]["platforms"]}
    (bound,) = MANIFEST["feature"]["cu128"]["platforms"]
    assert platforms[bound] == "12.8"
    assert "pytorch-gpu" in MANIFEST["feature"]["cu128"]["dependencies"]
    assert not {"torch", "torchvision"} & set(MANIFEST["pypi-dependencies"])


def test_environments_and_features_name_each_other():
    used = {feature for features in MANIFEST["environments"].values() for feature in features}
    assert used == set(MANIFEST["feature"])
    named = {platform["name"] for platform in MANIFEST["workspace"]["platforms"]}
    assert {name for feature in MANIFEST["feature"].values() for name in feature["platforms"]} == named


def test_tasks_that_people_rely_on_exist():
    assert {"ladder", "gate", "lint", "types", "test"} <= set(MANIFEST["tasks"])


def test_every_task_calls_invoke():
    assert {words[0] for _, words in commands()} == {"invoke"}


def test_the_checks_call_sessions_that_exist():
    called = {name for _, sessions in CHECKS.values() for name in sessions}
    assert called <= nox_sessions()
    assert {"check.lint", "check.types", "check.test"} <= {words[1] for _, words in commands()}


def test_every_invoke_task_that_a_task_calls_exists():
    called = {words[1] for _, words in commands() if words[0] == "invoke"}
    assert {"ladder.n", "ladder.s", "ladder.m", "gate.m"} <= called
    assert called <= invoke_tasks()
