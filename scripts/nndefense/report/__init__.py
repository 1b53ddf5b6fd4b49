"""Tables and figures from accuracy rows. Pure: rows in, a figure or text out."""
