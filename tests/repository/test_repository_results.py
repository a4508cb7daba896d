"""The published campaign: its pages are made from the summaries in its archive, and from nothing else."""

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).parents[2] / "docs" / "results" / "campaign"
COMPARISONS = sorted(CAMPAIGN.glob("*/comparison.json"))


@pytest.fixture(scope="module")
def archived():
    with tarfile.open(CAMPAIGN / "evidence.tar.gz") as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def test_there_is_a_comparison_to_check():
    assert COMPARISONS


@pytest.mark.parametrize("path", COMPARISONS, ids=lambda path: path.parent.name)
def test_every_row_is_that_of_a_summary_in_the_archive(path, archived):
    comparison, block = json.loads(path.read_bytes()), path.parent.name
    summaries = {ref["path"]: ref["sha256"] for ref in comparison["inputs"]}
    assert len(comparison["rows"]) == len(summaries) > 0
    for row in comparison["rows"]:
        content = archived[f"{block}/{row['summary']}"]
        assert hashlib.sha256(content).hexdigest() == summaries[row["summary"]]
        summary = json.loads(content)
        assert (summary["method"]["variant"], summary["training"]["seed"]) == (row["method"], row["seed"])
        assert summary["metrics"]["final_value"] == row["final_value"]


def test_every_archived_row_is_on_a_page_and_has_its_training_run(archived):
    shown = {
        f"{path.parent.name}/{row['summary']}" for path in COMPARISONS for row in json.loads(path.read_bytes())["rows"]
    }
    assert shown == {name for name in archived if name.endswith("run_summary.json")}
    for name in shown:
        summary, folder = json.loads(archived[name]), Path(name).parts[0]
        run = f"{folder}/trajectories/{summary['trajectory_id']}"
        assert json.loads(archived[f"{run}/run.json"])["status"] == "completed"
        assert f"{run}/run.toml" in archived


def test_the_archive_names_no_folder_of_the_machine_it_comes_from(archived):
    for name, content in archived.items():
        for folder in ("work", "tmp", "home", "root"):
            assert f"/{folder}/".encode() not in content, name
