"""Plot figures 5, 9 and 10: accuracy against database size."""

from nndefense.publish_figure import publish_figure
from nndefense.report.fig5 import draw_fig5, select_fig5

if __name__ == "__main__":
    publish_figure(__doc__, select_fig5, draw_fig5)
