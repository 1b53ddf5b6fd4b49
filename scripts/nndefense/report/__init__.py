"""Figures, tables, claims and pages from result rows. Adding a figure or table: a file here and a line in PIECES."""

from nndefense.core.plugins import plugin_targets

# In the order of the report.
PIECES = {
    "fig_adaptive": "nndefense.report.figures.fig_adaptive:PIECE",
    "fig_encoders": "nndefense.report.figures.fig_encoders:PIECE",
    "worst_case": "nndefense.report.tables.worst_case:PIECE",
    "card": "nndefense.report.tables.card:PIECE",
    "fig1": "nndefense.report.figures.fig1:PIECE",
    "fig2": "nndefense.report.figures.fig2:PIECE",
    "fig3": "nndefense.report.figures.fig3:PIECE",
    "fig4": "nndefense.report.figures.fig4:PIECE",
    "fig5": "nndefense.report.figures.fig5:PIECE",
    "fig6": "nndefense.report.figures.fig6:PIECE",
    "attacks": "nndefense.report.figures.attacks:PIECE",
    "fig7": "nndefense.report.figures.fig3:FGSM",
    "fig8": "nndefense.report.figures.fig3:CW",
    "fig9": "nndefense.report.figures.fig5:FGSM",
    "fig10": "nndefense.report.figures.fig5:CW",
    "fig11": "nndefense.report.figures.fig4:FGSM",
    "fig12": "nndefense.report.figures.fig4:CW",
    "fig_racnn": "nndefense.report.figures.fig_racnn:PIECE",
    "retrievalguard/fig": "nndefense.report.figures.fig_retrieval:PIECE",
    "retrievalguard/table": "nndefense.report.tables.retrieval:PIECE",
    "srd/fig": "nndefense.report.figures.fig_dictionaries:PIECE",
    "srd/table": "nndefense.report.tables.dictionaries:PIECE",
    "srd/clusters": "nndefense.report.figures.fig_clusters:PIECE",
    "srd/dictionaries": "nndefense.report.figures.fig_filters:PIECE",
    "poisoning": "nndefense.report.figures.poisoning:PIECE",
    "fig_index": "nndefense.report.figures.fig_index:PIECE",
    "training": "nndefense.report.figures.training:PIECE",
    "table1": "nndefense.report.tables.table1:PIECE",
    "table2": "nndefense.report.tables.table2:PIECE",
    "table3": "nndefense.report.tables.table3:PIECE",
    "table4": "nndefense.report.tables.table4:PIECE",
    "table1_racnn": "nndefense.report.tables.table1_racnn:PIECE",
    "index_report": "nndefense.report.tables.index_report:PIECE",
    "claims": "nndefense.report.tables.claims:PIECE",
}
PIECES |= plugin_targets("figures", PIECES)
