"""Model bundles: where they lie, and how they are loaded, saved and verified."""
