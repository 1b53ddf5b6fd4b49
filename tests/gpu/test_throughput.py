"""How fast it is, beside what the device could do. Printed, never asserted: other jobs may share the device."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_table_is_printed(device):
    command = [sys.executable, "benchmarks/gpu_throughput.py", "--images", "512", "--rows", "200000"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": "scripts"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr[-3000:]
