"""Where long commands run: as processes of this machine, or as jobs of Slurm.

An executor starts commands, watches them and stops them. What they did stands in their folders, nowhere else: that is
where a ladder looks, and where an attempt that was cut off goes on.
"""
