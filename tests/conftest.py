"""Tests run beside each other: with two OpenMP threads each, waiting for one another, they take many times as long."""

import os

# Before torch or FAISS is imported; jobs of a workflow set their threads themselves.
os.environ.setdefault("OMP_NUM_THREADS", "1")
