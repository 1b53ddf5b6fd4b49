"""Make table 2: accuracy of every defence beside the paper's values."""

from nndefense.publish import publish_table
from nndefense.report.table2 import as_latex, as_markdown, select_table2

if __name__ == "__main__":
    publish_table(__doc__, select_table2, as_markdown, as_latex)
