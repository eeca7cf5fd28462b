"""Maps the top-level folders to `tiergarten.<folder>`; everything else is in pyproject.toml.

The folders have generic names (`sim`, `reports`, ...) that must not land in a user's
site-packages, so they are packaged below `tiergarten`.
"""

from setuptools import find_namespace_packages, setup

FOLDERS = [
    "sim", "dram", "accelerators", "workloads", "rl_agents", "calibration", "reports", "scenarios",
]  # fmt: skip

packages = ["tiergarten"]
package_dir = {"tiergarten": "tiergarten"}
for folder in FOLDERS:
    name = f"tiergarten.{folder}"
    subfolders = [sub for sub in find_namespace_packages(folder) if "__pycache__" not in sub]
    packages += [name, *(f"{name}.{sub}" for sub in subfolders)]
    package_dir[name] = folder

setup(packages=packages, package_dir=package_dir)
