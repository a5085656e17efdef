"""What the runtime is about, whatever carries the bytes: types, errors and the data plane."""
