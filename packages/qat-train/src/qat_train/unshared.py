"""File descriptors that end with this process alone: a forked child, such as one that loads images, closes its copies.

A lock, or the end of a pipe that tells others of our end, would else outlive us in a child.
"""

import os

descriptors: set[int] = set()


def _close() -> None:
    for descriptor in descriptors:
        os.close(descriptor)
    descriptors.clear()


os.register_at_fork(after_in_child=_close)
