"""A Slurm cluster of one node: this machine's munge, controller and node daemon, in a folder of their own."""

import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

# SLURM_CONF would not reach `srun` inside a job, so the configuration lies where all programs look for it.
CONFIGURATION = Path("/etc/slurm/slurm.conf")
DEVICES = CONFIGURATION.with_name("gres.conf")
MARK = "# Written by tests/cluster of nndefense, which deletes it at its end."
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
PLUGIN = "snakemake_executor_plugin_slurm"
# What the node says it has, whatever it has (config_overrides). The GPU is a file, and sets no variable that names it.
NODE = "CPUs=2 RealMemory=32000 Gres=gpu:1"


def missing() -> str | None:
    """Why no cluster can be started here; None where one can."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"not found: {', '.join(absent)} (apt-get install -y --no-install-recommends slurm-wlm munge)"
    if importlib.util.find_spec(PLUGIN) is None:
        return f"not installed: {PLUGIN} (pip install '.[cluster]')"
    if os.geteuid() != 0:
        return f"only root may run the daemons and write {CONFIGURATION}"
    for path in (CONFIGURATION, DEVICES):
        if path.exists() and not path.read_text().startswith(MARK):
            return f"{path} exists and is not of these tests"
    return None


def end_with_parent() -> None:
    """For a child to call: it ends when its parent does, however that ends (prctl's PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(*command: str) -> str:
    """What a client of Slurm prints; nothing where it fails, as it does until the daemons answer."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return ""


class Node:
    """The cluster; its daemons are children of this process.

    Args:
        folder: an empty one with a short path: that of a socket may have 107 characters.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: list[subprocess.Popen] = []

    def start(self) -> None:
        """Ready to run jobs when it returns.

        Raises:
            AssertionError: it did not get ready in time, with what the daemons said.
        """
        CONFIGURATION.parent.mkdir(exist_ok=True)
        CONFIGURATION.write_text(self.configuration())
        DEVICES.write_text(f"{MARK}\nName=gpu File=/dev/null Flags=no_gpu_env\n")
        (self.folder / "state").mkdir()
        (self.folder / "spool").mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        own = [f"--{kind}-file={self.folder}/munge.{kind}" for kind in ("log", "pid", "seed")]
        self.spawn("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={self.socket}", *own)
        self.wait(self.socket.exists, 20, "socket of munged")
        self.spawn("slurmctld", "-D")
        self.wait(lambda: "is UP" in ask("scontrol", "ping"), 30, "answer of slurmctld")
        self.spawn("slurmd", "-D")
        self.wait(lambda: ask("sinfo", "--noheader", "--format=%T") == "idle", 60, "idle node")
        self.wait(lambda: ask("srun", "--ntasks=1", "hostname") != "", 60, "job that runs")

    def stop(self) -> None:
        """Cancel what runs, and end the daemons by their ids, the last one first."""
        if len(self.daemons) == 3:
            ask("scancel", "--user=root")
            for _ in range(100):
                if not self.jobs():
                    break
                time.sleep(0.3)
        while self.daemons:
            daemon = self.daemons.pop()
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for path in (CONFIGURATION, DEVICES):
            path.unlink(missing_ok=True)

    def jobs(self) -> list[str]:
        """Ids of the jobs that wait or run."""
        return ask("squeue", "--noheader", "--format=%i").split()

    def job(self, name: str) -> dict[str, str]:
        """What Slurm knows of a job: JobState, NumCPUs, EndTime, TresPerJob and others, for 300 s after its end."""
        words = ask("scontrol", "--oneliner", "show", "job", name).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    @property
    def socket(self) -> Path:
        return self.folder / "munge.socket"

    def spawn(self, *command: str) -> None:
        with open(self.folder / f"{command[0]}.out", "w") as said:
            self.daemons.append(subprocess.Popen(command, stdout=said, stderr=said, preexec_fn=end_with_parent))

    def wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            ended = any(daemon.poll() is not None for daemon in self.daemons)
            assert not ended, f"a daemon ended: no {what}\n{self.said()}"
            assert time.monotonic() < deadline, f"no {what} within {seconds:g} s\n{self.said()}"
            time.sleep(0.2)

    def said(self) -> str:
        """The end of what each daemon wrote."""
        return "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in sorted(self.folder.glob("*.out")))

    def configuration(self) -> str:
        host = socket.gethostname().split(".")[0]
        controller, node = free_port(), free_port()
        return f"""{MARK}
ClusterName=nndefense
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={self.socket}
CredType=cred/munge
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/spool
SlurmctldPidFile={self.folder}/slurmctld.pid
SlurmdPidFile={self.folder}/slurmd.pid
SlurmctldPort={controller}
SlurmdPort={node}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=defer,sched_interval=2,bf_interval=5
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
MinJobAge=1200
KillWait=5
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 {NODE}
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
