"""docs/devices.md is what its generator makes of the device files."""

import importlib.util
from pathlib import Path

from tiergarten.accelerators.provenance import device_files

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_page_of_devices_is_current():
    spec = importlib.util.spec_from_file_location("generate_devices", DOCS / "generate_devices.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (DOCS / "devices.md").read_text(encoding="utf-8")
    assert page == module.render(device_files()), "run: python docs/generate_devices.py"
    for file in device_files():
        for item in file.numbers:
            assert f"| `{item.path}` | {item.value} | {item.kind} |" in page
