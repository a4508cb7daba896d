"""Run a command and write what it took to a file descriptor: FD COMMAND...; started by a bare interpreter.

A process begins with the peak memory of whoever started it (Linux keeps it over exec), so a command is started from a
process that is smaller than any Python program.
"""

import os
import sys
import time


def main(report: int, command: list[str]) -> int:
    """Exit code of the command; "wall seconds, CPU seconds, peak bytes" go to `report`."""
    os.set_inheritable(report, False)
    begin = time.perf_counter()
    child = os.posix_spawnp(command[0], command, os.environ)
    _, status, used = os.wait4(child, 0)  # its own children, too, that it waited for
    wall = time.perf_counter() - begin
    unit = 1 if sys.platform == "darwin" else 1024
    os.write(report, f"{wall} {used.ru_utime + used.ru_stime} {used.ru_maxrss * unit}".encode())
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
