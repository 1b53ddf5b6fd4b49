"""Plot figures 3, 7 and 8: accuracy against the budget by number of neighbours."""

from nndefense.publish_figure import publish_figure
from nndefense.report.fig3 import draw_fig3, select_fig3

if __name__ == "__main__":
    publish_figure(__doc__, select_fig3, draw_fig3)
