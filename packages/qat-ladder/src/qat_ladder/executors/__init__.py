"""Where long commands run: as processes of this machine, as jobs of Slurm, or on the workers of a Ray cluster.

An executor starts commands, watches them and stops them. What they did stands in their folders, nowhere else: that is
where a ladder looks, and where an attempt that was cut off goes on.
"""
