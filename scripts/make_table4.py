"""Make table 4: soft against hard combination."""

from nndefense.publish import publish_table
from nndefense.report.table4 import as_latex, as_markdown, select_table4

if __name__ == "__main__":
    publish_table(__doc__, select_table4, as_markdown, as_latex)
