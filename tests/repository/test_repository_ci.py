"""`.ci/run` runs the line that the README shows, and nothing else."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NO_BLOCK = "ci: README.md has no fenced block right after the line <!-- test-line -->\n"


def run(folder, readme):
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci" / "run")
    (folder / "README.md").write_text(readme, encoding="utf-8")
    return subprocess.run([folder / ".ci" / "run"], cwd="/", capture_output=True, text=True, check=False)


def test_the_marked_block_runs_verbatim_in_the_repository_root(tmp_path):
    other = "```\nfalse\n```\n"
    marked = '<!-- test-line -->\n\n```bash\ntouch ran && echo "from $PWD"\n```\n'
    done = run(tmp_path, f"# X\n\n{other}\n{marked}\n{other}")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "ran").is_file()
    lines = done.stdout.splitlines()
    assert lines[:3] == ["ci: running the test line of README.md", 'touch ran && echo "from $PWD"', f"from {tmp_path}"]
    assert lines[3].startswith("ci: passed in ")


def test_a_failing_line_fails_with_its_exit_code(tmp_path):
    done = run(tmp_path, "<!-- test-line -->\n```\nexit 7\n```\n")
    assert done.returncode == 7
    assert "ci: FAILED with exit code 7 in " in done.stdout


def test_the_first_failing_command_of_a_chain_decides(tmp_path):
    assert run(tmp_path, "<!-- test-line -->\n```\nfalse\ntrue\n```\n").returncode == 1


@pytest.mark.parametrize(
    "readme",
    ["# X\n\n```\ntrue\n```\n", "<!-- test-line -->\n\ntext\n\n```\ntrue\n```\n", "<!-- test-line -->\n```\n```\n"],
)
def test_a_missing_block_fails_instead_of_passing_vacuously(tmp_path, readme):
    done = run(tmp_path, readme)
    assert (done.returncode, done.stderr) == (1, NO_BLOCK)
