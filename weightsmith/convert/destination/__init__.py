"""Where an output in parts appears: a folder of this machine, or one of an object store."""
