"""The long form of the scenarios: random edits, kills and faults for up to half an hour, with traffic, and laws that must hold all the time."""
