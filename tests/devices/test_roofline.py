"""Rooflines: closed form, and ridge points of the bundled devices."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tiergarten.accelerators.device import DeviceSpec
from tiergarten.accelerators.provenance import device_files
from tiergarten.accelerators.roofline import Roofline
from tiergarten.sim.units import parse_bytes_per_s, parse_flops

NUMBERS = {(file.name, item.path): item.value for file in device_files() for item in file.numbers}


def peak_roofline(file: str, device: str) -> Roofline:
    return Roofline(
        parse_flops(NUMBERS[file, f"devices.{device}.peak_flops.bf16"]),
        parse_bytes_per_s(NUMBERS[file, "tiers.hbm.bandwidth"]),
    )


def test_time_is_the_larger_of_compute_and_memory():
    roofline = Roofline(flops_per_s=1000.0, bytes_per_s=10.0)
    assert roofline.ridge_flop_per_byte == 100
    assert roofline.time_s(2000, 10) == 2.0  # 2 s of compute, 1 s of memory
    assert roofline.time_s(1000, 30) == 3.0
    assert roofline.bound(2000, 10) == "compute"
    assert roofline.bound(1000, 30) == "memory"


@given(st.floats(1, 1e15), st.floats(1, 1e15), st.floats(1, 1e15), st.floats(1, 1e15))
def test_bound_changes_at_the_ridge(flops_per_s, bytes_per_s, flops, num_bytes):
    roofline = Roofline(flops_per_s, bytes_per_s)
    intensity = flops / num_bytes
    if intensity > roofline.ridge_flop_per_byte * (1 + 1e-9):
        assert roofline.bound(flops, num_bytes) == "compute"
    if intensity < roofline.ridge_flop_per_byte * (1 - 1e-9):
        assert roofline.bound(flops, num_bytes) == "memory"


def test_a100_ridge_is_where_the_sn40l_paper_puts_it():
    """Sec. III: a knee of about 150 FLOP/B; the paper's word is "about", its number has two digits."""
    assert peak_roofline("a100-80gb", "gpu").ridge_flop_per_byte == pytest.approx(150, rel=0.05)


@pytest.mark.parametrize(("intensity", "bound"), [(39.5, "memory"), (102.6, "memory"), (410.4, "compute")])
@pytest.mark.parametrize(("file", "device"), [("a100-80gb", "gpu"), ("sn40l", "rdu")])
def test_only_the_fully_fused_fft_is_bound_by_compute(file, device, intensity, bound):
    """Operational intensities of Table I of the SN40L paper."""
    assert peak_roofline(file, device).bound(intensity * 1e12, 1e12) == bound


@pytest.mark.parametrize(
    ("file", "device", "ridge"),
    [("sn40l", "rdu", 638e12 / 1.8e12), ("tpuv4i", "tpu", 138e12 / 614e9), ("h100-sxm", "gpu", 989.4e12 / 3.35e12),
     ("h200", "gpu", 989.4e12 / 4.8e12), ("mi300x", "gpu", 1307.4e12 / 5.3e12), ("b200", "gpu", 2.25e15 / 8e12)],
)  # fmt: skip
def test_ridge_points(file, device, ridge):
    assert peak_roofline(file, device).ridge_flop_per_byte == pytest.approx(ridge, rel=1e-9)


def test_rates_of_a_node_multiply():
    device = DeviceSpec(kind="rdu", count=8, peak_flops={"bf16": "638 TFLOP/s"})
    assert device.flops_per_s("bf16") == 8 * 638e12
    with pytest.raises(ValueError, match=r"no peak_flops for 'fp16'.*'bf16'"):
        device.flops_per_s("fp16")


def test_misspelt_efficiency_is_an_error():
    with pytest.raises(ValidationError, match=r"unknown efficiency 'memroy'.*'memory'"):
        DeviceSpec(kind="gpu", efficiency={"memroy": 0.5})


def test_efficiency_is_a_share():
    with pytest.raises(ValidationError):
        DeviceSpec(kind="gpu", efficiency={"memory": 1.2})
