"""The axes of an experiment as values: each has one `parse` and one `str`, and nothing else splits a name."""
