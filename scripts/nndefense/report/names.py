"""Names and numbers as tables and figures print them."""

SETTING_NAMES = {"clean": "Clean", "gray_box": "Gray box", "black_box": "Black box", "white_box": "White box"}


def thousands(number: float) -> str:
    """500 -> 500, 2000 -> 2k, 1500000 -> 1.5M."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:g}{name}"
    return f"{number:g}"
