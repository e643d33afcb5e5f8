"""Stand-in for torchair.fx_summary."""
