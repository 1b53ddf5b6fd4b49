"""Plot figure 6: attacks that know of the defence."""

from nndefense.publish_figure import publish_figure
from nndefense.report.fig6 import draw_fig6, select_fig6

if __name__ == "__main__":
    publish_figure(__doc__, select_fig6, draw_fig6)
