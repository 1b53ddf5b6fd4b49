"""Numbers as they stand in names and paths."""


def number_text(value: float) -> str:
    """0.06 -> "0.06", 1.0 -> "1", 1e-05 -> "1e-05": the shortest text that reads back as the same number."""
    return repr(float(value)).removesuffix(".0")
