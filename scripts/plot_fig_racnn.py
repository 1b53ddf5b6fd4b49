"""Plot accuracy against the l-infinity budget for the networks of Table 1 of the RA-CNN abstract."""

from nndefense.publish_figure import publish_figure
from nndefense.report.fig_racnn import draw_fig_racnn
from nndefense.report.linf import select_linf

if __name__ == "__main__":
    publish_figure(__doc__, select_linf, draw_fig_racnn)
