"""GDDR7 SGRAM, one 8-bit channel, PAM3: separate row and column command buses, read clock RCK.

An estimate in the main: the reference, through which all values came, calls its speed bin fit for tests only and no
vendor's, takes a floor of its own for tRCKSP2ST, which the document leaves to vendors, and placeholders for refresh
management.
"""

from tiergarten.dram.standard import DramStandard, TimingNames, preset_table, rule

# fmt: off
t = TimingNames(
    "rate nBL nRL nWL nDQERL nRCDRD nRCDWR nRP nRAS nRC nRRD nRREFD nRPD nRTPSB nPPD nWR nCCD nCCDSB nWTR "
    "nWTRSB nRTW nREFI nREFIpb nRFCab nRFCpb nRDREFab nRFMab nRFMpb nRCKSTRT2RD nRD2RCKSTOP nRCKSP2ST "
    "nRCKST2SP nRCKSTOP_LAT nRCKEN nRCK_LS nRCKPST nRCK_HS tCK_ps "
)

ORGS = preset_table(
    "                density  dq  channel_width  bank    row  column", {
    "GDDR7_16Gb_x8": (   4096,  8,             8,   16, 16384,   2048),
    "GDDR7_32Gb_x8": (   8192,  8,             8,   16, 32768,   2048),
    "GDDR7_64Gb_x8": (  16384,  8,             8,   16, 65536,   2048),
})

BINS = {
    "GDDR7_28000_PAM3": {
        "nBL": 2, "nRL": 24, "nWL": 6, "nDQERL": 0, "nRCDRD": 30, "nRCDWR": 19, "nRP": 30, "nRAS": 60,
        "nRC": 90, "nWR": 30, "nRTPSB": 4, "nRRD": 4, "nRREFD": 21, "nWTR": 9, "nWTRSB": 11, "nRTW": 12,
        "nRFCab": 315, "nRFCpb": 105, "tCK_ps": 571,
    },
}
# fmt: on


def secondary(org, timing):
    """Data rate from the burst length, read-to-write gap, refresh, and the start and stop times of the read clock."""
    tck = timing["tCK_ps"]
    read_end = timing["nRL"] + timing["nDQERL"] + timing["nBL"]
    refi = 1_900_000 // tck
    ppd, rckstrt2rd, rckpst, rcken, rckstop_lat, rck_ls = 2, 2, 2, 6, 10, 2
    rck_hs = max(0, timing["nRL"] + rckstrt2rd - rcken - rck_ls)
    return {
        "rate": round(32e6 / (timing["nBL"] * tck)),
        "nCCD": timing["nBL"],
        "nCCDSB": 4,
        "nPPD": ppd,
        "nRPD": ppd,
        "nREFI": refi,
        "nREFIpb": refi // 16,
        "nRTW": read_end + 4 - timing["nWL"],
        "nRDREFab": read_end + 2,
        "nRFMab": timing["nRFCab"],
        "nRFMpb": timing["nRFCpb"],
        "nRCKSTRT2RD": rckstrt2rd,
        "nRCKPST": rckpst,
        "nRCKEN": rcken,
        "nRCKSTOP_LAT": rckstop_lat,
        "nRCK_LS": rck_ls,
        "nRCK_HS": rck_hs,
        "nRD2RCKSTOP": max(1, read_end + rckpst - rckstop_lat),
        "nRCKSP2ST": max(8, rcken + rck_ls),
        "nRCKST2SP": rcken + rck_ls + rck_hs,
    }


# fmt: off
GDDR7 = DramStandard(
    name="GDDR7",
    source="JEDEC JESD239 where it gives a value, else estimates. Presets and constraints as in Ramulator 2.1 (c5b1c3a4).",
    controller="GDDR7",
    levels=("Channel", "Bank", "Row", "Column"),
    commands=(
        "ACT", "PREpb", "PREab", "RD", "WR", "RDA", "WRA",
        "REFab", "REFpb", "RFMab", "RFMpb", "RCKSTRT", "RCKSTOP",
    ),
    timings=t,
    prefetch=32,
    command_ticks={"ACT": 2, "RD": 2, "WR": 2, "RDA": 2, "WRA": 2, "RCKSTRT": 2, "RCKSTOP": 2},
    row_commands=("ACT", "PREpb", "PREab", "REFab", "REFpb", "RFMab", "RFMpb"),
    read_latency=1 + t.nRL + t.nDQERL + t.nBL,
    orgs=ORGS,
    bins=BINS,
    secondary=secondary,
    constraints={
        "Channel": (
            rule("RD RDA",      "RD RDA",                            t.nCCD),
            rule("WR WRA",      "WR WRA",                            t.nCCD),
            rule("RD RDA",      "WR WRA",                            t.nRTW),
            rule("WR WRA",      "RD RDA",                            t.nWL + t.nBL + t.nWTR),
            rule("ACT",         "ACT",                               t.nRRD),
            rule("PREpb PREab", "PREpb PREab",                       t.nPPD),
            rule("ACT",         "REFab",                             t.nRC),
            rule("RD RDA",      "REFab",                             t.nRDREFab),
            rule("PREpb PREab", "REFab",                             t.nRP),
            rule("RDA",         "REFab",                             t.nRTPSB + t.nRP),
            rule("WRA",         "REFab",                             t.nWL + t.nBL + t.nWR + t.nRP),
            rule("REFab",       "ACT PREab REFab REFpb",             t.nRFCab),
            rule("REFpb",       "REFpb ACT",                         t.nRREFD),
            rule("REFpb",       "REFab",                             t.nRFCpb),
            rule("ACT",         "REFpb",                             t.nRRD),
            rule("RFMab",       "ACT PREab REFab REFpb RFMab RFMpb", t.nRFMab),
            rule("ACT",         "RFMab",                             t.nRC),
            rule("PREpb PREab", "RFMab",                             t.nRP),
            rule("RCKSTRT",     "RD RDA",                            t.nRCKSTRT2RD),
            rule("RD RDA",      "RCKSTOP",                           t.nRD2RCKSTOP),
            rule("RCKSTOP",     "RCKSTRT RD RDA",                    t.nRCKSP2ST),
            rule("RCKSTRT",     "RCKSTOP",                           t.nRCKST2SP),
        ),
        "Bank": (
            rule("RD RDA", "RD RDA",          t.nCCDSB),
            rule("WR WRA", "WR WRA",          t.nCCDSB),
            rule("WR WRA", "RD RDA",          t.nWL + t.nBL + t.nWTRSB),
            rule("ACT",    "ACT",             t.nRC),
            rule("ACT",    "RD RDA",          t.nRCDRD),
            rule("ACT",    "WR WRA",          t.nRCDWR),
            rule("ACT",    "PREpb",           t.nRAS),
            rule("PREpb",  "ACT",             t.nRP),
            rule("PREpb",  "ACT REFpb",       t.nRPD, sibling=True),
            rule("RD",     "PREpb",           t.nRTPSB),
            rule("WR",     "PREpb",           t.nWL + t.nBL + t.nWR),
            rule("RDA",    "ACT REFpb RFMpb", t.nRTPSB + t.nRP),
            rule("WRA",    "ACT REFpb RFMpb", t.nWL + t.nBL + t.nWR + t.nRP),
            rule("REFpb",  "ACT REFpb",       t.nRFCpb),
            rule("ACT",    "REFpb",           t.nRC),
            rule("PREpb",  "REFpb",           t.nRP),
            rule("RFMpb",  "ACT REFpb RFMpb", t.nRFMpb),
            rule("ACT",    "RFMpb",           t.nRC),
            rule("PREpb",  "RFMpb",           t.nRP),
        ),
    },
)
# fmt: on
