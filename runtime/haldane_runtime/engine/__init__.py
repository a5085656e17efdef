"""What runs a model, behind one Protocol."""
