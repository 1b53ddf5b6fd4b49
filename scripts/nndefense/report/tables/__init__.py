"""Tables, one a file: which rows are shown, how they are written down, and what the report says of it."""
