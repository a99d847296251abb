"""Pages and pictures that people look at: one frame, and the sections that it shows."""
