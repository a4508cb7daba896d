"""The executor that a configuration names; what it needs beside this package is imported only where it is named."""

from qat_ladder.config import Config
from qat_ladder.errors import Unavailable
from qat_ladder.executors.command import Executor
from qat_ladder.executors.processes import Here
from qat_ladder.layout import Root


def open_executor(config: Config, root: Root) -> Executor:
    """The executor of a stage in a run root.

    Raises:
        ConfigError: a key of [slurm] is not known.
        Unavailable: its library is not installed, or there is no such scheduler here.
    """
    name = config.executor.name
    if name == "local":
        return Here()
    try:
        made: Executor
        if name == "slurm":
            from qat_ladder.executors.slurm import Slurm

            made = Slurm.of(config, root)
        else:
            from qat_ladder.executors.ray_cluster import RayCluster

            made = RayCluster.of(config)
        return made
    except ModuleNotFoundError as error:
        if error.name not in ("submitit", "ray"):
            raise
        raise Unavailable(f"--executor {name} needs {error.name}: pip install 'qat-ladder[{name}]'") from error
