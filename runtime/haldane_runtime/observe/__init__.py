"""What the runtime tells about itself."""
