"""A process that has torch, Ultralytics and ModelOpt imported and forks one child for each product called.

Importing them takes most of the time of a process that is killed after some seconds, so a hundred kills would take
hours. A child is a process of its own and runs the product's own `__main__`; it dies when the caller's process dies.
"""

import importlib
import json
import os
import runpy
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import sitecustomize  # ours, not the interpreter's: it is first on the path

from qat_train.environment import prepare_environment

PRELOADED = ("qat_train.runner", "qat_train.correction_task", "qat_train.evaluator", "qat_qc.running")


def follow(line):
    """Die with the caller: its end of the line closes when it does, also by SIGKILL."""
    if not line.recv(1):
        os.kill(os.getpid(), signal.SIGKILL)


def child(line, about):
    os.chdir(about["cwd"])
    os.environ.clear()
    os.environ.update(about["environ"])
    threading.Thread(target=follow, args=(line,), daemon=True).start()
    module, *arguments = about["argv"]
    end = sitecustomize.arm(" ".join(about["argv"][:2]), about["group"])
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    end()
    line.sendall(str(int(code)).encode())
    os._exit(code)


def main(place):
    prepare_environment(1)
    for name in PRELOADED:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the system
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(place)
        server.listen(8)
        print("ready", flush=True)
        while True:
            line, _ = server.accept()
            _, handles, *_ = socket.recv_fds(line, 1, 3)
            about = json.loads(line.makefile().readline())
            if os.fork() == 0:
                server.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for number, handle in enumerate(handles):
                    os.dup2(handle, number)
                    os.close(handle)
                child(line, about)
            for handle in handles:
                os.close(handle)
            line.close()


if __name__ == "__main__":
    main(sys.argv[1])
