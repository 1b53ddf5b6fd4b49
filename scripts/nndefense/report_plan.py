"""Which tables and figures a configuration has the axes for, and what the report shows of them.

Imported while Snakemake parses the workflow, so it imports nothing heavy.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nndefense.report.pieces import PIECES, TABLES

if TYPE_CHECKING:
    from nndefense.workflow import Plan

CLEAN = "clean"


class ReportPlan:
    """Names of the tables and figures of a plan."""

    tables = TABLES

    def __init__(self, plan: "Plan") -> None:
        self._plan = plan

    def shown_queries(self) -> list[str]:
        """Query sets of figure 2: clean images, a middle and the largest budget."""
        plan, config = self._plan, self._plan.config
        epsilons = plan.epsilons
        chosen = dict.fromkeys([epsilons[(len(epsilons) - 1) // 2], epsilons[-1]])
        setting = config["attacks"]["settings"][0]
        return [CLEAN, *(plan.query_set(setting, config["base"]["attack"], epsilon) for epsilon in chosen)]

    def targets(self) -> list[str]:
        """All tables and figures that the configuration has the axes for."""
        plan = self._plan
        attacked, settings = plan.plain_attacks, plan.config["attacks"]["settings"]
        ladder = len(plan.sizes(plan.main_pool)) > 1
        by_layer, by_neighbors = len(plan.plain_layers) > 1, "black_box" in settings
        wanted = {"fig2": True, "fig3": by_neighbors, "fig4": by_layer, "fig5": ladder, "fig6": bool(plan.aware)}
        wanted["training"] = bool(plan.curves())
        for number, attack in ((0, "fgsm"), (1, "cw")):
            wanted[f"fig{7 + number}"] = by_neighbors and attack in attacked
            wanted[f"fig{9 + number}"] = ladder and attack in attacked
            wanted[f"fig{11 + number}"] = by_layer and attack in attacked
        figures = [f"<results>/{name}.pdf" for name, possible in wanted.items() if possible]
        tables = [f"<results>/{name}.md" for name in ("table1", "table2", "table3", "table4", "claims")]
        return [*figures, *tables, *plan.linf.targets(), "<results>/accuracy.csv"]

    def shown(self) -> list[str]:
        """Figures and tables of the report that the configuration has the axes for, by name."""
        made = {Path(target).stem for target in self.targets()}
        return [name for name in PIECES if name in made]

    def files(self, *suffixes: str, tables: bool) -> list[str]:
        """Files of the figures, or of tables and claims, that stand on the report's page or are downloaded there."""
        names = [name for name in self.shown() if name.startswith("fig") != tables]
        return [f"<results>/{name}.{suffix}" for name in names for suffix in suffixes]

    def pages(self) -> list[str]:
        """What `snakemake --report` needs beyond the figures and tables."""
        return ["<results>/overview.html", *(f"<results>/captions/{name}.rst" for name in self.shown())]

    def captioned_config(self) -> dict[str, Any]:
        """The part of the configuration that captions tell about, and no more: a change of it writes them anew."""
        config = self._plan.config
        keys = ("base", "classes", "dataset", "pools", "queries", "sizes", "surrogate", "target")
        told = {key: config[key] for key in keys}
        told["attacks"] = {key: config["attacks"][key] for key in ("epsilons", "methods", "settings")}
        told["images"] = {name: {"kind": settings["kind"]} for name, settings in config["images"].items()}
        told["models"] = {name: config["models"][name] for name in self._plan.models()}
        return told
