"""Fuzzing that follows coverage: `python -m tests.faults.fuzz.guided "runs: results.csv" -atheris_runs=100000`.

From the root of the repository, with atheris installed. libFuzzer's flags follow the name of a reader of
`test_fuzz_readers.py`; a file that ends a reader in an unnamed error is left as `crash-...` in the working folder.
Without a name it lists the readers. Hypothesis changes real files by their structure and so gets past their headers;
this one finds what bytes do to the parsers of text, and keeps what reached a new branch.
"""

import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

import atheris

PACKAGES = ["qat_artifacts", "qat_data", "qat_report", "qat_gate", "qat_ladder", "tomli", "yaml"]

with atheris.instrument_imports(include=PACKAGES, enable_loader_override=False):
    from tests.faults.test_fuzz_readers import FOLDERS, NAMED, READERS


def main(arguments):
    readers = {reader.id: reader for reader in READERS}
    if not arguments or arguments[0] not in readers:
        print("\n".join(readers))
        return 2
    reader = readers[arguments[0]]
    with tempfile.TemporaryDirectory() as scratch:
        folder, corpus = Path(scratch, "folder"), Path(scratch, "corpus")
        folder.mkdir()
        corpus.mkdir()
        FOLDERS[reader.family](folder)
        path = folder / reader.place
        shutil.copy(path, corpus)

        def one(data):
            path.write_bytes(data)
            with contextlib.suppress(*NAMED):
                reader.read(path)

        atheris.Setup([sys.argv[0], *arguments[1:], str(corpus)], one)
        atheris.Fuzz()  # does not return: libFuzzer ends the process, with 77 for a crash
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
