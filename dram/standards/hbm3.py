"""HBM3: two 32-bit pseudo channels; commands may start on either edge of CK, so a tick is half a CK.

Organisations are of the document's Table 4, tRFC by density of Table 84, as the reference says.
"""

from tiergarten.dram.standard import DramStandard, TimingNames, at_most, cycles, preset_table, rule

# fmt: off
t = TimingNames(
    "rate nBL nCL nRCDRD nRCDWR nRP nRAS nRC nWR nRTP nCWL nCCDS nCCDL nCCDR nRRDS nRRDL nWTRS nWTRL nRTW "
    "nFAW nPPD nRFC nRFCpb nRFMab nRFMpb nRREFD nREFI nREFIpb tCK_ps "
)

ORGS = preset_table(
    "                 density  dq  channel_width  pseudochannel  sid  bankgroup  bank    row  column", {
    "HBM3_4Gb":       (   4096, 32,            32,             2,   1,         4,    4, 16384,    256),
    "HBM3_8Gb_8hi":   (   8192, 32,            32,             2,   2,         4,    4,  8192,    256),
    "HBM3_16Gb_8hi":  (  16384, 32,            32,             2,   2,         4,    4, 16384,    256),
    "HBM3_32Gb_8hi":  (  32768, 32,            32,             2,   2,         4,    4, 32768,    256),
    "HBM3_32Gb_16hi": (  32768, 32,            32,             2,   4,         4,    4, 32768,    256),
})

BINS = {
    "HBM3_6400Mbps": {
        "rate": 6400, "nBL": 2, "nCL": 20, "nRCDRD": 31, "nRCDWR": 15, "nRP": 26, "nRAS": 45, "nRC": 72,
        "nWR": 33, "nRTP": 9, "nCWL": 10, "nCCDS": 2, "nCCDL": 4, "nCCDR": 3, "nRRDS": 4, "nRRDL": 5,
        "nFAW": 24, "nWTRS": 7, "nWTRL": 10, "nRTW": 20, "nRFCpb": 320, "nRREFD": 8, "nREFI": 6240, "nPPD": 2,
        "tCK_ps": 625,
    },
}
# fmt: on


def secondary(org, timing):
    """Refresh times by the density of one stack level, in CK."""
    tck = timing["tCK_ps"]
    density = org["density"] // org["sid"]
    rfc = cycles(at_most(density, ((4096, 260_000), (8192, 350_000), (16384, 450_000)), above=550_000), tck)
    return {
        "nRFC": rfc,
        "nRFMab": rfc,
        "nRFMpb": timing["nRFCpb"],
        "nRREFD": max(3, cycles(8_000, tck)),
        "nREFI": cycles(3_900_000, tck),
        "nREFIpb": cycles(3_900_000, tck * org["bank"] * org["bankgroup"] * org["sid"]),
    }


# fmt: off
HBM3 = DramStandard(
    name="HBM3",
    source="JEDEC JESD238. Presets and constraints as in Ramulator 2.1 (c5b1c3a4).",
    controller="HBM34",
    levels=("Channel", "PseudoChannel", "Sid", "BankGroup", "Bank", "Row", "Column"),
    commands=("ACT", "PREpb", "PREab", "RD", "WR", "RDA", "WRA", "REFab", "REFpb", "RFMab", "RFMpb"),
    timings=t,
    prefetch=8,
    tick_multiplier=2,
    command_ticks={"ACT": 3, "RD": 2, "WR": 2, "RDA": 2, "WRA": 2},
    row_commands=("ACT", "PREpb", "PREab", "REFab", "REFpb", "RFMab", "RFMpb"),
    read_latency=t.nCL + t.nBL,
    orgs=ORGS,
    bins=BINS,
    secondary=secondary,
    constraints={
        "PseudoChannel": (
            rule("RD RDA",      "RD RDA",      t.nBL),
            rule("WR WRA",      "WR WRA",      t.nBL),
            rule("RD RDA",      "WR WRA",      t.nRTW),
            rule("WR WRA",      "RD RDA",      t.nCWL + t.nBL + t.nWTRS),
            rule("RD",          "PREab",       t.nRTP),
            rule("WR",          "PREab",       t.nCWL + t.nBL + t.nWR),
            rule("ACT",         "ACT",         t.nRRDS),
            rule("ACT",         "ACT",         t.nFAW, window=4),
            rule("ACT",         "PREab",       t.nRAS),
            rule("PREab",       "ACT",         t.nRP),
            rule("PREpb PREab", "PREpb PREab", t.nPPD),
            rule("ACT",         "REFab",       t.nRC),
            rule("PREpb PREab", "REFab",       t.nRP),
            rule("RDA",         "REFab",       t.nRP + t.nRTP),
            rule("WRA",         "REFab",       t.nCWL + t.nBL + t.nWR + t.nRP),
            rule("REFab",       "ACT PREab",   t.nRFC),
            rule("REFpb",       "REFpb",       t.nRREFD),
            rule("REFpb",       "ACT",         t.nRREFD),
            rule("ACT",         "REFpb",       t.nRRDS),
            rule("ACT",         "RFMab",       t.nRC),
            rule("PREpb PREab", "RFMab",       t.nRP),
            rule("RDA",         "RFMab",       t.nRP + t.nRTP),
            rule("WRA",         "RFMab",       t.nCWL + t.nBL + t.nWR + t.nRP),
            rule("RFMab",       "ACT PREab",   t.nRFMab),
            rule("RFMpb",       "ACT",         t.nRREFD),
            rule("ACT",         "RFMpb",       t.nRRDS),
        ),
        "Sid": (
            rule("RD RDA", "RD RDA", t.nCCDS),
            rule("WR WRA", "WR WRA", t.nCCDS),
            rule("RD RDA", "RD RDA", t.nCCDR, sibling=True),
        ),
        "BankGroup": (
            rule("RD RDA", "RD RDA", t.nCCDL),
            rule("WR WRA", "WR WRA", t.nCCDL),
            rule("WR WRA", "RD RDA", t.nCWL + t.nBL + t.nWTRL),
            rule("ACT",    "ACT",    t.nRRDL),
        ),
        "Bank": (
            rule("ACT",   "ACT",    t.nRC),
            rule("ACT",   "RD RDA", t.nRCDRD),
            rule("ACT",   "WR WRA", t.nRCDWR),
            rule("ACT",   "PREpb",  t.nRAS),
            rule("PREpb", "ACT",    t.nRP),
            rule("RD",    "PREpb",  t.nRTP),
            rule("WR",    "PREpb",  t.nCWL + t.nBL + t.nWR),
            rule("RDA",   "ACT",    t.nRTP + t.nRP),
            rule("WRA",   "ACT",    t.nCWL + t.nBL + t.nWR + t.nRP),
            rule("REFpb", "ACT",    t.nRFCpb),
            rule("ACT",   "REFpb",  t.nRC),
            rule("PREpb", "REFpb",  t.nRP),
            rule("RFMpb", "ACT",    t.nRFMpb),
            rule("ACT",   "RFMpb",  t.nRC),
            rule("PREpb", "RFMpb",  t.nRP),
        ),
    },
)
# fmt: on
