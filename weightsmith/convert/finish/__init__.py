"""Makes an output whole: staging folder, journal, read back, hashes, manifest, one rename."""
