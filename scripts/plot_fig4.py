"""Plot figures 4, 11 and 12: accuracy against the budget by layer."""

from nndefense.publish_figure import publish_figure
from nndefense.report.fig4 import draw_fig4, select_fig4

if __name__ == "__main__":
    publish_figure(__doc__, select_fig4, draw_fig4)
