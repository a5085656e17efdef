"""A model served, a better one promoted, a slow one and a broken one rolled back: by real traffic, on a real cluster."""
