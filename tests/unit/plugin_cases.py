"""A package of somebody else's, with components of every sort, as pip installs it."""

import textwrap
from pathlib import Path

GROUPS = {
    "attacks": {"coin": "theirs.attacks.coin:Coin"},
    "architectures": {"tinynet": "theirs.networks:build"},
    "certificates": {"always": "theirs.networks:certify"},
    "defenses": {"blend": "theirs.blend:Blend"},
    "evaluations": {"spread": "theirs.networks:SPREAD"},
    "figures": {"fig_mine": "theirs.figure:PIECE"},
    "images": {"noise": "theirs.noise:Noise"},
    "summaries": {"mean": "theirs.networks:MEAN"},
    "training": {"lazy": "theirs.blend:Lazy"},
}
FILES = {
    "__init__.py": "import theirs_heavy\nVERSION = 1\n",
    "attacks/__init__.py": "",
    "attacks/coin.py": '''
        """Tosses."""
        from dataclasses import dataclass
        from typing import Annotated, ClassVar
        import theirs_heavy
        from pydantic import Field
        from nndefense.attacks.base import Attack
        from nndefense.core.options import Share
        from ..helper import MOST, Common
        @dataclass(frozen=True, kw_only=True)
        class Coin(Attack, Common):
            """A random sign for every pixel.

            More of it.
            """
            label: ClassVar[str] = "Coin toss"
            balls = ("raw01",)
            share: Annotated[Share, Field(description="Share of the budget.")] = MOST
    ''',
    "helper.py": """
        from dataclasses import dataclass
        from theirs.constants import MOST
        @dataclass(frozen=True, kw_only=True)
        class Common:
            tosses: int = 3
    """,
    "constants.py": "MOST = 0.5\n",
    "blend.py": '''
        from dataclasses import dataclass
        from nndefense.defenses.base import Purifier
        @dataclass(frozen=True, kw_only=True)
        class Blend(Purifier):
            """Blends."""
            label = "Blending"
            needs = ("patches",)
            label_of_mine: str = "x"
        @dataclass(frozen=True, kw_only=True)
        class Lazy:
            """Trains little."""
            strength: float = 1.0
    ''',
    "noise.py": '''
        import theirs_heavy
        class Noise:
            """Noise."""
            label = "noise"
            def __init__(self, rows: int, label: str = "x") -> None: ...
    ''',
    "networks.py": """
        import theirs_heavy
        LABEL = "Theirs"
        SPREAD = MEAN = None
        def build(architecture, classes, weights): ...
        def certify(first, draws, gallery, *, sigma, alpha, nonnegative=False): ...
    """,
    "figure.py": """
        from nndefense.report.piece import Piece
        PIECE = Piece(
            name="fig_mine", kind="figure", category="Figures", title="Mine", varies="nothing", shows="Little.",
            source="nndefense.report.figures.fig5:inputs",
        )
    """,
}


def write_package(folder: Path, groups: dict, files: dict, name: str = "theirs") -> None:
    """A package and what pip writes down when it is installed; importing it is heavy."""
    for file, text in files.items():
        (folder / name / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / name / file).write_text(textwrap.dedent(text))
    (folder / "theirs_heavy.py").write_text("raise ImportError('heavy')\n")
    facts = folder / f"{name}-1.dist-info"
    facts.mkdir(exist_ok=True)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    lines = [
        f"[nndefense.{group}]\n" + "".join(f"{k} = {v}\n" for k, v in own.items()) for group, own in groups.items()
    ]
    (facts / "entry_points.txt").write_text("\n".join(lines))
