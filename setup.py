"""The workflow goes into the package: what Snakemake reads lies around the library in a checkout, in it in a wheel."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PATTERNS = (
    "Snakefile",
    "config.yaml",
    "requirements.lock",
    "config/**/*.yaml",
    "envs/*.yaml",
    "profiles/*/*.yaml",
    "report/*.rst",
    "rules/*.smk",
    "schemas/*.json",
    "scripts/*.py",
)
# Where nndefense.flow.shipped looks for them.
FOLDER = "nndefense/workflow"


def workflow_files() -> list[str]:
    """Files of the workflow, from this folder."""
    return sorted(str(path) for pattern in PATTERNS for path in Path().glob(pattern))


class BuildWithWorkflow(build_py):
    """Copies the workflow, too, unless the package stays where it is (`pip install --editable`)."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for file in workflow_files():
                target = Path(self.build_lib, FOLDER, file)
                self.mkpath(str(target.parent))
                self.copy_file(file, str(target))

    def get_source_files(self) -> list[str]:
        """What a source distribution has."""
        return super().get_source_files() + workflow_files()

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """What is made."""
        own = [str(Path(self.build_lib, FOLDER, file)) for file in workflow_files()]
        return super().get_outputs(include_bytecode) + ([] if self.editable_mode else own)


setup(cmdclass={"build_py": BuildWithWorkflow})
