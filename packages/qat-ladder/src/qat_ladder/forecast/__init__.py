"""What a ladder will cost before it is started: hours on GPUs, disk, time on the wall, and what saves some of it."""
