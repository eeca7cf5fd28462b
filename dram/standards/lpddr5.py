"""LPDDR5 SDRAM, 16-bit channel, ticks of CK (WCK/4): split activate, CAS for WCK synchronisation.

Tables of the document, as the reference gives them: 330 burst lengths BL/n of bank-group mode, 331 to 333 column and
activate spacings, 339 and 342 read to write, 344 column command to precharge, 352 and 353 CAS before an access, 372
core timings (tFAW 20 ns, tPPD), 235 refresh (tRFCab, tRFCpb, tREFI 3906 ns, tREFIpb 488 ns, tpbR2pbR, tpbR2act).
"""

from tiergarten.dram.standard import DramStandard, TimingNames, at_most, cycles, preset_table, rule

# fmt: off
t = TimingNames(
    "rate nBL_min nBL_max nCL nRCD nRP nRPab nRAS nRC nWR nRTP nCWL nPPD nCCDS nCCDL nCCDS_WR nCCDL_WR nRRDS "
    "nRRDL nWTRS nWTRL nFAW nRFC nRFCpb nREFI nREFIpb nWCKPST nCAS nAAD nCS tCK_ps nPBR2PBR nPBR2ACT "
)

ORGS = preset_table(
    "                  density  dq  channel_width  rank  bankgroup  bank    row  column", {
    "LPDDR5_8Gb_x16":  (   8192, 16,            16,    1,         4,    4, 32768,   1024),
    "LPDDR5_16Gb_x16": (  16384, 16,            16,    1,         4,    4, 65536,   1024),
})

BINS = {
    "LPDDR5_6400": {
        "rate": 6400, "nBL_min": 2, "nBL_max": 4, "nCL": 17, "nRCD": 15, "nRP": 15, "nRPab": 17, "nRAS": 34,
        "nRC": 49, "nWR": 28, "nRTP": 8, "nCWL": 9, "nPPD": 2, "nCCDS": 2, "nCCDL": 4, "nCCDS_WR": 2,
        "nCCDL_WR": 4, "nWTRS": 5, "nWTRL": 10, "nWCKPST": 1, "nCAS": 0, "nAAD": 8, "nCS": 2, "tCK_ps": 1250,
    },
}
# fmt: on


def secondary(org, timing):
    """Activate spacings and refresh times from nanoseconds."""
    density, tck = org["density"], timing["tCK_ps"]
    rfc_ps = at_most(density, ((2048, 130_000), (4096, 180_000), (8192, 210_000), (16384, 280_000)), above=380_000)
    rfcpb_ps = at_most(density, ((2048, 60_000), (4096, 90_000), (8192, 120_000), (16384, 140_000)), above=190_000)
    rrd = max(4, cycles(5_000, tck))
    return {
        "nRRDS": rrd,
        "nRRDL": rrd,
        "nFAW": max(16, cycles(20_000, tck)),
        "nRFC": cycles(rfc_ps, tck),
        "nRFCpb": cycles(rfcpb_ps, tck),
        "nREFI": cycles(3_906_000, tck),
        "nREFIpb": cycles(488_000, tck),
        "nPBR2PBR": cycles(60_000 if density <= 2048 else 90_000, tck),
        "nPBR2ACT": cycles(7_500, tck),
    }


# fmt: off
LPDDR5 = DramStandard(
    name="LPDDR5",
    source="JEDEC JESD209-5B. Presets and constraints as in Ramulator 2.1 (c5b1c3a4).",
    controller="LPDDR5",
    levels=("Channel", "Rank", "BankGroup", "Bank", "Row", "Column"),
    commands=("ACT1", "ACT2", "PREpb", "PREab", "CAS_RD", "CAS_WR", "RD", "WR", "RDA", "WRA", "REFab", "REFpb"),
    timings=t,
    prefetch=16,
    read_latency=t.nCL + t.nBL_min,
    orgs=ORGS,
    bins=BINS,
    secondary=secondary,
    constraints={
        "Channel": (
            rule("RD RDA", "RD RDA", t.nBL_min),
            rule("WR WRA", "WR WRA", t.nBL_min),
        ),
        "Rank": (
            rule("RD RDA",      "RD RDA",                 t.nCCDS),
            rule("WR WRA",      "WR WRA",                 t.nCCDS_WR),
            rule("RD RDA",      "WR WRA",                 t.nCL + t.nBL_min + 2 - t.nCWL),
            rule("WR WRA",      "RD RDA",                 t.nCWL + t.nBL_min + t.nWTRS),
            rule("RD RDA",      "RD RDA WR WRA",          t.nBL_min + t.nCS, sibling=True),
            rule("WR WRA",      "RD RDA",                 t.nCL + t.nBL_min + t.nCS - t.nCWL, sibling=True),
            rule("RD",          "PREab",                  t.nRTP),
            rule("WR",          "PREab",                  t.nCWL + t.nBL_min + t.nWR),
            rule("ACT1",        "ACT1",                   t.nRRDS),
            rule("ACT1",        "ACT1",                   t.nFAW, window=4),
            rule("ACT1",        "PREab",                  t.nRAS),
            rule("PREab",       "ACT1",                   t.nRPab),
            rule("PREpb PREab", "PREpb PREab",            t.nPPD),
            rule("ACT1",        "REFab",                  t.nRC),
            rule("PREpb PREab", "REFab",                  t.nRP),
            rule("RDA",         "REFab",                  t.nRP + t.nRTP),
            rule("WRA",         "REFab",                  t.nCWL + t.nBL_min + t.nWR + t.nRP),
            rule("REFab",       "ACT1 PREab REFpb REFab", t.nRFC),
            rule("REFpb",       "REFpb",                  t.nPBR2PBR),
            rule("REFpb",       "REFab",                  t.nRFCpb),
            rule("REFpb",       "ACT1",                   t.nPBR2ACT),
        ),
        "BankGroup": (
            rule("RD RDA", "RD RDA", t.nCCDL),
            rule("WR WRA", "WR WRA", t.nCCDL_WR),
            rule("WR WRA", "RD RDA", t.nCWL + t.nBL_max + t.nWTRL),
            rule("ACT1",   "ACT1",   t.nRRDL),
        ),
        "Bank": (
            rule("CAS_RD", "RD RDA",        t.nCAS),
            rule("CAS_WR", "WR WRA",        t.nCAS),
            rule("ACT1",   "ACT1",          t.nRC),
            rule("ACT1",   "RD RDA WR WRA", t.nRCD),
            rule("ACT1",   "PREpb",         t.nRAS),
            rule("PREpb",  "ACT1",          t.nRP),
            rule("RD",     "PREpb",         t.nRTP),
            rule("WR",     "PREpb",         t.nCWL + t.nBL_min + t.nWR),
            rule("RDA",    "ACT1",          t.nRTP + t.nRP),
            rule("WRA",    "ACT1",          t.nCWL + t.nBL_min + t.nWR + t.nRP),
            rule("REFpb",  "ACT1",          t.nRFCpb),
            rule("ACT1",   "REFpb",         t.nRC),
            rule("PREpb",  "REFpb",         t.nRP),
        ),
    },
)
# fmt: on
