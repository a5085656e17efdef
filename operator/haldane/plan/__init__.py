"""The functional core: every decision as a pure function of what was asked, what was seen, and the time."""
