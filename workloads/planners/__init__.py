"""Published planning programs, solved with HiGHS; they need scipy (the `trace` extra)."""
