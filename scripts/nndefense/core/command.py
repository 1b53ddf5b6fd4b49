"""What every script has in common: argument parsing, its log, one-line errors, processor and threads."""

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import TextIO

from nndefense.core import whose
from nndefense.core.devices import claim_device, exact_products
from nndefense.core.errors import FileFault, NNDefenseError
from nndefense.core.files import write_ledger
from nndefense.core.job_log import JobLog, to_terminal
from nndefense.core.memory import OutOfMemory, is_out_of_memory, shortage
from nndefense.core.orphans import end_with_run
from nndefense.core.text import visible_lines


class Job:
    """One run of a script: where it logs and what it computes on."""

    def __init__(self, log: JobLog | TextIO, gpus: int, threads: int) -> None:
        self.log = log
        self.threads = threads
        self.device = "cpu"
        self._gpus = gpus

    def say(self, message: str) -> None:
        """Write a line to the log."""
        print(visible_lines(message), file=self.log, flush=True)

    def torch_device(self) -> str:
        """Claim a processor and set torch's threads; call it before the first use of torch. "cpu" or "cuda"."""
        self.device, sentence = claim_device(self._gpus)
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            self.device, sentence = "cpu", "computes on the CPU (this torch has no usable CUDA)"
        if self.device == "cuda":
            exact_products()
        torch.set_num_threads(self.threads)
        self.say(f"{sentence}, {self.threads} threads, torch {torch.__version__}")
        return self.device


def parser(description: str | None, *, torch: bool = False) -> argparse.ArgumentParser:
    """An argument parser with the options that all scripts share."""
    parsed = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parsed.add_argument("--log", help="file for progress and errors (default: standard error)")
    parsed.add_argument("--threads", type=int, default=os.cpu_count(), help="threads to compute with")
    if torch:
        parsed.add_argument("--gpus", type=int, default=1, help="0: compute on the CPU")
    return parsed


def computing_options(parsed: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Adds the options of how networks compute (see `nndefense.models.computing`)."""
    parsed.add_argument(
        "--precision", choices=["exact", "tf32", "bf16"], default="exact", help="on devices that are faster in it"
    )
    parsed.add_argument("--compile", action="store_true", help="compile networks on a GPU")
    return parsed


def need_options(parsed: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Adds the options of what a component needs: files with the need of each, their readers, and small values."""
    parsed.add_argument("--roles", nargs="*", default=[], help="what each of --files is needed for")
    parsed.add_argument("--files", nargs="*", default=[], help="files that the components need")
    parsed.add_argument(
        "--readers", default="{}", help="how the files of a need are read, MODULE:NAME by need, as JSON"
    )
    parsed.add_argument("--facts", default="{}", help="small values by need, as JSON")
    return parsed


def embedding_options(parsed: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Adds the options of what embeds images of a retrieval task with noise."""
    parsed.add_argument("--name", required=True, help="of the retrieval, TASK/EMBEDDING/sigma-SIGMA")
    parsed.add_argument("--task", required=True, help="images of gallery and queries, .npz")
    parsed.add_argument("--model", required=True, help="model.json of the network")
    parsed.add_argument("--output", required=True, help="features, softmax or output")
    parsed.add_argument("--transform", nargs="*", default=[], help="what is done to these, .npz")
    parsed.add_argument("--sigma", type=float, required=True, help="standard deviation of the noise")
    parsed.add_argument("--batch", type=int, default=250, help="noisy images per forward pass")
    parsed.add_argument("--seed", type=int, default=1)
    return parsed


def breaking_options(parsed: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Adds the options of what attacks a smoothed retrieval: where it is, and how hard it is attacked."""
    embedding_options(parsed)
    parsed.add_argument("--gallery", required=True, help="vectors of the gallery, .npz")
    parsed.add_argument("--steps", type=int, required=True, help="gradient steps")
    parsed.add_argument("--draws", type=int, required=True, help="noisy copies that a gradient is averaged over")
    parsed.add_argument("--fresh", type=int, required=True, help="draws that an answer is of, at most")
    return parsed


def run(main: Callable[[argparse.Namespace, Job], None], arguments: argparse.Namespace) -> None:
    """Run `main`; known errors become one line and exit code 1, unknown ones a traceback in the log as well."""
    end_with_run()
    log = JobLog(arguments.log)
    start = time.monotonic()
    whose.begin(os.environ.get(whose.VARIABLE))
    try:
        main(arguments, Job(log, getattr(arguments, "gpus", 0), arguments.threads))
        write_ledger()
    except Exception as error:
        _stop(_message(error), log)
    print(f"finished in {time.monotonic() - start:.1f} s", file=log, flush=True)


def _message(error: Exception) -> str:
    """What is said of an error: one line where it is known."""
    if is_out_of_memory(error) and not isinstance(error, OutOfMemory):
        needed = "more memory is needed, or a lower `batch` in the configuration"
        return f"error: {OutOfMemory(f'{shortage(error)}: {needed}')}"
    if isinstance(error, NNDefenseError):
        return f"error: {error}"
    if isinstance(error, OSError):
        return f"error: {FileFault(error)}"
    return "".join(traceback.format_exception(error)).rstrip()


def _stop(message: str, log: JobLog) -> None:
    text = visible_lines(message) + "\n"
    if log.path is not None:
        print(text, end="", file=log, flush=True)
    to_terminal(text)
    sys.exit(1)
