"""`invoke -l` lists the tasks; their bodies live in packages/qat-ladder."""

from pathlib import Path

from qat_ladder import tasks

tasks.PROJECT = Path(__file__).parent
namespace = tasks.collection()
