"""Run folders in, figures and pages out. Reads tables only, never a live simulator."""
