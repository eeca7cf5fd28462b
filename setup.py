"""Maps the top-level folders to `tiergarten.<folder>`; everything else is in pyproject.toml.

The folders have generic names (`sim`, `reports`, ...) that must not land in a user's
site-packages, so they are packaged below `tiergarten`.
"""

from setuptools import find_namespace_packages, setup

FOLDERS = [
    "sim", "dram", "accelerators", "workloads", "rl_agents", "calibration", "reports", "scenarios",
]  # fmt: skip


def with_subfolders(name, folder):
    """The package and every folder below it, data folders included."""
    return [name, *(f"{name}.{sub}" for sub in find_namespace_packages(folder) if "__pycache__" not in sub)]


packages = with_subfolders("tiergarten", "tiergarten")
package_dir = {"tiergarten": "tiergarten"}
for folder in FOLDERS:
    packages += with_subfolders(f"tiergarten.{folder}", folder)
    package_dir[f"tiergarten.{folder}"] = folder

setup(packages=packages, package_dir=package_dir)
