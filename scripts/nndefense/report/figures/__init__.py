"""Figures, one a file: which rows are shown, how they are drawn, and what the report says of it."""
