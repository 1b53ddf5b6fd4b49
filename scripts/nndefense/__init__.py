"""Nearest-neighbour defences against adversarial images: the library under the Snakemake workflow.

Data flows down the import graph as it flows through the workflow:
images -> models -> features -> database -> attacks -> retrieval -> report.
A package imports only from packages before it; the modules beside this file serve all of them.
"""

__version__ = "0.1.0"
