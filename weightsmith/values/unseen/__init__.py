"""What no shape tells and the numbers do: one statistic a file, each from sampled arrays to a frozen finding."""
