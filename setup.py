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
    packages += [
        name,
        *(f"{name}.{sub}" for sub in find_namespace_packages(folder, exclude=["__pycache__*", "*.__pycache__*"])),
    ]
    package_dir[name] = folder

setup(packages=packages, package_dir=package_dir)
