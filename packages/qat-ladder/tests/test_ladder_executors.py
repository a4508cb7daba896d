"""Commands as processes, side by side, and as jobs of submitit's local executor: real processes, real signals."""

import os
import signal
import sys
import time
from pathlib import Path

import attrs
import pytest
import tomli

from qat_ladder.config import Execution, Ray
from qat_ladder.driving import drive
from qat_ladder.errors import ConfigError, Unavailable
from qat_ladder.executors import remote
from qat_ladder.executors.choice import open_executor
from qat_ladder.executors.command import Command
from qat_ladder.executors.processes import Here
from qat_ladder.layout import Root
from qat_ladder.places import Place, places_of
from qat_ladder.stage import run_stage
from qat_train import occupancy


@pytest.fixture
def command(tmp_path):
    """Make a command of Python source; what it writes is heard into `heard`."""

    def make(source, *, name="one", again=None, hear=None):
        heard = []
        made = Command(
            argv=(sys.executable, "-c", source),
            again=(sys.executable, "-c", again or source),
            name=name,
            log=tmp_path / name / "log.txt",
            folder=tmp_path / name,
            hear=hear or heard.append,
        )
        made.folder.mkdir(exist_ok=True)
        return made, heard

    return make


def alone(command):
    def work(_place):
        return (yield command)

    return work


def run(command, executor):
    (code,) = drive([alone(command)], executor, [None])
    return code


def test_command_is_heard_line_by_line_and_logged_without_its_bars(command, tmp_path):
    source = r"import sys; sys.stderr.write('10%\r100%\r\x1b[Kfirst\nsecond'); sys.exit(6)"
    made, heard = command(source)
    assert run(made, Here()) == 6
    assert heard == ["first", "second"]
    assert (tmp_path / "one" / "log.txt").read_text() == "first\nsecond\n"


def test_command_has_a_process_group_of_its_own(command):
    made, heard = command("import os, sys; print(os.getpgrp() == os.getpid(), file=sys.stderr)")
    assert run(made, Here()) == 0
    assert heard == ["True"]


BESIDE = """
import pathlib, sys, time
here, limit = pathlib.Path({folder!r}), time.monotonic() + 600
(here / "{name}").touch()
while len(list(here.glob("run*"))) < {wanted} and time.monotonic() < limit:
    time.sleep(0.02)
print(len(list(here.glob("run*"))), file=sys.stderr)
"""


def test_as_many_commands_run_at_once_as_there_are_places(command, tmp_path):
    now, most = [0], [0]

    def work(number):
        def of(place):
            source = BESIDE.format(folder=str(tmp_path), name=f"run{number}", wanted=2)
            made, heard = command(source, name=str(number))
            now[0] += 1
            most[0] = max(most[0], now[0])
            code = yield made
            now[0] -= 1
            return code, place, heard

        return of

    found = drive([work(number) for number in range(3)], Here(), ["a", "b"])
    assert [code for code, *_ in found] == [0, 0, 0]
    assert [place for _, place, _ in found[:2]] == ["a", "b"]
    assert most == [2]
    assert int(found[0][2][0]) >= 2  # the first waited for the second: they ran side by side


def test_a_work_that_fails_stops_the_others_and_lets_them_end_by_themselves(command, tmp_path):
    source = (
        "import pathlib, signal, sys, time\n"
        f"end = pathlib.Path({str(tmp_path / 'end')!r})\n"
        "def stop(*_):\n    end.touch(); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, stop)\nprint('ready', file=sys.stderr, flush=True)\n"
        "while True:\n    time.sleep(0.02)\n"
    )
    ready = tmp_path / "ready"
    waits, _ = command(source, name="waits", hear=lambda _: ready.touch())
    fails, _ = command(
        f"import pathlib, time\nwhile not pathlib.Path({str(ready)!r}).exists():\n    time.sleep(0.02)\n",
        name="fails",
    )

    def failing(_place):
        yield fails
        raise ConfigError("no further")

    with pytest.raises(ConfigError, match="no further"):
        drive([alone(waits), failing], Here(), [None, None])
    assert (tmp_path / "end").exists()


def test_what_hearing_raises_is_raised_where_the_command_was_yielded(command):
    def hear(line):
        raise ValueError(line)

    made, _ = command("import sys, time; print('x', file=sys.stderr, flush=True); time.sleep(600)", hear=hear)

    def work(_place):
        try:
            yield made
        except ValueError as error:
            return f"caught {error}"

    assert drive([work], Here(), [None]) == ["caught x"]


# Places ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def configured(request_for):
    """A configuration with these keys of [executor], and of [training] where they have no underscore in front."""
    base = request_for().resolve("ema").config

    def make(device="auto", threads=0, slurm=None, **executor):
        training = attrs.evolve(base.training, device=device, threads=threads)
        slurm = base.slurm if slurm is None else slurm
        return attrs.evolve(base, training=training, executor=Execution(**executor), slurm=slurm)

    return make


def test_one_run_at_a_time_unless_asked_otherwise(configured):
    assert places_of(configured(), 4) == [Place()]
    assert places_of(configured(name="slurm"), 4) == [Place()] * 4
    assert places_of(configured(name="slurm", jobs=2), 4) == [Place()] * 2


def test_threads_are_shared_out_unless_they_are_given(configured):
    cores = len(os.sched_getaffinity(0))
    assert places_of(configured(jobs=3), 9) == [Place(threads=max(1, cores // 3))] * 3
    assert places_of(configured(jobs=3, threads=2), 9) == [Place()] * 3
    assert places_of(configured(name="ray"), 2) == [Place(threads=1)] * 2


def test_slots_are_devices_one_run_on_each(configured):
    assert [place.device for place in places_of(configured(slots="0,1,1"), 9)] == ["0", "1", "1"]
    assert [place.device for place in places_of(configured(slots="0,1", jobs=1), 9)] == ["0"]


def test_a_slot_may_hold_several_devices_for_one_run(configured, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(12))
    found = places_of(configured(slots="0+1,2+3"), 9)
    assert [(place.device, place.threads) for place in found] == [("0,1", 3), ("2,3", 3)]
    with pytest.raises(ConfigError, match=r"training\.batch = 16 cannot be divided among 3 devices of a slot"):
        places_of(configured(slots="0+1+2"), 9)


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (
            {"slots": "0", "jobs": 2},
            "executor.jobs = 2, but executor.slots = '0' hold 1; a slot trains one run at a time",
        ),
        ({"slots": "0,1", "name": "slurm"}, "with executor slurm the scheduler hands them out"),
    ],
)
def test_places_that_cannot_be(configured, keys, text):
    with pytest.raises(ConfigError, match=text):
        places_of(configured(**keys), 4)


@pytest.mark.parametrize(
    ("slots", "text"), [("0,1+2", "slots of one size are needed"), ("0+0", "a slot names a device twice")]
)
def test_slots_that_give_runs_different_devices_are_refused(slots, text):
    with pytest.raises(ValueError, match=text):
        Execution(slots=slots)


@pytest.mark.parametrize("slots", ["0;1", "0+", "0+cpu", "gpu", "0,", "-1"])
def test_slots_of_another_form_are_refused(slots):
    with pytest.raises(ValueError, match="must be devices with commas between them, a run on each, such as 0,1, or"):
        Execution(slots=slots)


# Stages ---------------------------------------------------------------------------------------------------------------


def written(root, seed):
    """Keys of [training] in the specification of a run."""
    spec = root / f"trajectories/yolo10n/shared/seed{seed}/run.toml"
    return tomli.loads(spec.read_text(encoding="utf-8"))["training"]


def test_a_stage_trains_on_its_slots(products, request_for, tmp_path, capsys):
    assert (
        run_stage(request_for(seeds=[0, 1, 2], methods=["ema+qc"], slots="0,cpu", settings=("training.threads=3",)))
        == 0
    )
    root = tmp_path / "runs"
    devices = {written(root, seed)["device"] for seed in range(3)}
    assert devices == {"0", "cpu"}
    assert written(root, 0)["threads"] == 3
    assert all((root / f"yolo10n/ema-qc/seed{seed}/run_summary.json").exists() for seed in range(3))
    corrections = {call[call.index("--device") + 1] for call in products.calls() if call[:2] == ["qat-qc", "run"]}
    assert corrections == devices
    assert "executor.slots" not in (root / "trajectories/yolo10n/shared/seed0/run.toml").read_text()


def test_jobs_share_the_threads_of_the_machine(products, request_for, tmp_path):
    assert run_stage(request_for(jobs="2", methods=["baseline"])) == 0
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    assert [written(tmp_path / "runs", seed)["threads"] for seed in (0, 1)] == [share, share]


def test_slots_and_jobs_bind_no_plan(products, request_for):
    assert run_stage(request_for(methods=["baseline"], slots="cpu,cpu")) == 0
    assert run_stage(request_for(methods=["baseline"], jobs="1")) == 0


def test_a_run_that_somebody_else_trains_is_left_to_them(products, request_for, tmp_path, capsys):
    products.behave({"seed0 --resume": 5})
    assert run_stage(request_for(jobs="2")) == 6
    assert "error: seed0 of yolo10n/shared: made to fail" in capsys.readouterr().err
    assert not (tmp_path / "runs/yolo10n/baseline/seed0").exists()
    assert (tmp_path / "runs/yolo10n/ema-qc/seed1/run_summary.json").exists()


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "²"])
def test_jobs_of_another_form_are_refused(request_for, text):
    with pytest.raises(ConfigError, match=rf"--jobs '{text}': expected an integer from 1"):
        run_stage(request_for(jobs=text))


def test_several_devices_of_one_run_go_to_its_trainer_and_the_first_to_its_correction(products, request_for, tmp_path):
    assert run_stage(request_for(seeds=[0], methods=["ema+qc"], device="cpu,cpu", slots="cpu+cpu")) == 0
    assert written(tmp_path / "runs", 0)["device"] == "cpu,cpu"
    corrections = [call[call.index("--device") + 1] for call in products.calls() if call[:2] == ["qat-qc", "run"]]
    assert corrections == ["cpu"]


def test_a_batch_that_several_devices_cannot_divide_is_refused(request_for):
    with pytest.raises(ConfigError, match="a batch of 16 cannot be divided among 3 devices"):
        run_stage(request_for(device="0,1,2"))


# Jobs -----------------------------------------------------------------------------------------------------------------


def test_the_note_that_a_scheduler_overrules_is_the_one_that_a_trainer_leaves():
    assert remote.TRAINER == occupancy.FILE


@pytest.fixture
def slurm(configured, tmp_path, monkeypatch):
    """Submitit's own executor for this machine: the same jobs, without a queue."""
    pytest.importorskip("submitit")
    monkeypatch.setattr("qat_ladder.executors.slurm._LATE", 0.2)
    monkeypatch.setattr(remote, "_PATIENCE", 0.1)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores what cancels a job
    parameters = {"cluster": "local", "timeout_min": 10}
    yield open_executor(configured("cpu", name="slurm", retries=1, slurm=parameters), Root(tmp_path / "runs"))
    signal.signal(signal.SIGINT, before)


def test_a_job_is_the_same_command_heard_through_its_log(slurm, command, capsys):
    made, heard = command("import sys; print('epoch 1/2 ', file=sys.stderr); sys.exit(6)")
    assert run(made, slurm) == 6
    assert heard == ["epoch 1/2"]
    assert "one: Slurm job " in capsys.readouterr().err


def test_a_command_that_is_killed_is_tried_again_as_one_that_goes_on(slurm, command, capsys, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / ".trainer").write_text('{"host": "node17"}')
    made, heard = command(
        "import os, signal, sys; print('first', file=sys.stderr, flush=True); os.kill(os.getpid(), signal.SIGKILL)",
        again="import sys; print('second', file=sys.stderr)",
    )
    assert run(made, slurm) == 0
    assert heard == ["first", "second"]
    text = capsys.readouterr().err
    assert "had its command killed by SIGKILL, perhaps for memory; goes on as Slurm job " in text
    assert (tmp_path / "one" / ".trainer").read_text() == ""  # whose note it was is over, says the scheduler


@pytest.mark.slow
def test_a_command_that_is_killed_again_and_again_has_failed(slurm, command, tmp_path):
    made, _ = command("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert run(made, slurm) == 6
    told = (tmp_path / "one" / "log.txt").read_text().splitlines()[-1]
    assert told.startswith("error: Slurm job ")
    assert told.endswith(
        " had its command killed by SIGKILL, perhaps for memory, and so did those before it (executor.retries)"
    )


def test_an_interrupt_cancels_the_jobs(slurm, command, tmp_path):
    pid = tmp_path / "pid"
    source = (
        "import os, pathlib, sys, time\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\nprint('on', file=sys.stderr, flush=True)\n"
        "time.sleep(600)\n"
    )

    def interrupt(_line):
        raise KeyboardInterrupt

    made, _ = command(source, hear=interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(made, slurm)
    assert gone(int(pid.read_text()))


def gone(pid):
    """Whether a process ends by itself, within a minute."""
    limit = time.monotonic() + 600
    while alive(pid) and time.monotonic() < limit:
        time.sleep(0.05)
    return not alive(pid)


def alive(pid):
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster of two workers on this machine, a CPU each."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    yield made.address
    made.shutdown()


@pytest.fixture
def ray_executor(cluster, configured, tmp_path):
    config = attrs.evolve(configured("cpu", name="ray", retries=1), ray=Ray(address=cluster))
    handler = signal.getsignal(signal.SIGTERM)
    executor = open_executor(config, Root(tmp_path / "runs"))
    assert signal.getsignal(signal.SIGTERM) is handler
    yield executor
    executor.close()


@pytest.mark.slow
def test_tasks_of_a_ray_cluster(ray_executor, command, tmp_path, capsys):
    """Two at once on two workers; one whose worker is killed goes on; what is cancelled is gone with its command."""
    sides = [command(BESIDE.format(folder=str(tmp_path), name=f"run{n}", wanted=2), name=str(n)) for n in range(2)]
    assert drive([alone(made) for made, _ in sides], ray_executor, [None, None]) == [0, 0]
    assert [heard for _, heard in sides] == [["2"], ["2"]]

    made, heard = command("import sys; print('epoch 1/2 ', file=sys.stderr); sys.exit(6)", name="fails")
    assert run(made, ray_executor) == 6
    assert heard == ["epoch 1/2 ".strip()]

    def kill_worker(line):
        if line.isdecimal():
            os.kill(int(line), signal.SIGKILL)
        heard.append(line)

    heard.clear()
    # Its parent is the process that stands between it and Ray's own, whose number the parent's status holds.
    source = (
        "import os, pathlib, sys, time\n"
        "status = pathlib.Path(f'/proc/{os.getppid()}/status').read_text()\n"
        "print(status.partition('PPid:')[2].split()[0], file=sys.stderr, flush=True)\n"
        "time.sleep(600)\n"
    )
    made, _ = command(source, again="import sys; print('second', file=sys.stderr)", name="killed", hear=kill_worker)
    capsys.readouterr()
    assert run(made, ray_executor) == 0
    assert heard[1:] == ["second"]
    assert "; goes on as Ray task " in capsys.readouterr().err

    pid = tmp_path / "pid"
    source = f"import os, pathlib, sys, time; pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\n"
    source += "print('on', file=sys.stderr, flush=True); time.sleep(600)"

    def interrupt(_line):
        raise KeyboardInterrupt

    made, _ = command(source, name="cancelled", hear=interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(made, ray_executor)
    assert gone(int(pid.read_text()))


@pytest.mark.slow
def test_without_a_cluster_the_remedy_is_told(configured, tmp_path):
    pytest.importorskip("ray")
    config = attrs.evolve(configured(name="ray"), ray=Ray(address="127.0.0.1:1"))
    with pytest.raises(Unavailable, match=r"no cluster at '127.0.0.1:1' .*start one with `ray start --head`"):
        open_executor(config, Root(tmp_path / "runs"))


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        (
            {"cluster": "local", "slurm_partitian": "gpu"},
            r"\[slurm\]: Unknown argument 'partitian' for executor 'slurm'",
        ),
        ({"cluster": "pbs"}, "slurm.cluster: expected slurm, or local to try it out on this machine, not 'pbs'"),
    ],
)
def test_parameters_that_submitit_does_not_know(configured, tmp_path, parameters, text):
    pytest.importorskip("submitit")
    with pytest.raises(ConfigError, match=text):
        open_executor(configured(name="slurm", slurm=parameters), Root(tmp_path / "runs"))


def test_without_slurm_the_remedy_is_told(configured, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="Submit from a host that has sbatch and srun"):
        open_executor(configured(name="slurm", slurm={}), Root(tmp_path / "runs"))


@pytest.mark.parametrize(("name", "library"), [("slurm", "submitit"), ("ray", "ray")])
def test_a_missing_extra_is_told_with_the_command_that_mends_it(configured, tmp_path, monkeypatch, name, library):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, "qat_ladder.executors.slurm", raising=False)
    monkeypatch.delitem(sys.modules, "qat_ladder.executors.ray_cluster", raising=False)
    text = rf"--executor {name} needs {library}: pip install 'qat-ladder\[{name}\]'"
    with pytest.raises(Unavailable, match=text):
        open_executor(configured(name=name), Root(tmp_path / "runs"))
