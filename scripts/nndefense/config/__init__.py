"""The configuration: typed sections, checked and with defaults filled in.

Imported while Snakemake parses the workflow, so it imports nothing heavy: what components offer is read from their
source.
"""

from nndefense.config.load import load_config
from nndefense.config.sections import Config

__all__ = ["Config", "load_config"]
