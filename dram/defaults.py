"""The organisation and speed bin taken where only a standard is named: those of the speed and curve tables."""

from tiergarten.dram.standard import STANDARDS

USUAL = {
    "DDR3": ("DDR3_4Gb_x8", "DDR3_1600K"),
    "DDR4": ("DDR4_8Gb_x8", "DDR4_2400R"),
    "DDR5": ("DDR5_16Gb_x8", "DDR5_4800BN"),
    "LPDDR5": ("LPDDR5_8Gb_x16", "LPDDR5_6400"),
    "LPDDR6": ("LPDDR6_16Gb_x12", "LPDDR6_10667_BL24"),
    "GDDR6": ("GDDR6_8Gb_x16", "GDDR6_14000_1250mV_double"),
    "GDDR7": ("GDDR7_16Gb_x8", "GDDR7_28000_PAM3"),
    "HBM1": ("HBM1_4Gb", "HBM1_2Gbps"),
    "HBM2": ("HBM2_4Gb", "HBM2_2000Mbps"),
    "HBM3": ("HBM3_16Gb_8hi", "HBM3_6400Mbps"),
    "HBM4": ("HBM4_32Gb_8Hi", "HBM4_8000Mbps"),
}


def default_presets(standard: str) -> tuple[str, str]:
    """Organisation and speed bin of a standard; the first of its tables where none is set here."""
    if standard in USUAL:
        return USUAL[standard]
    found = STANDARDS.get(standard)
    return next(iter(found.orgs)), next(iter(found.bins))
