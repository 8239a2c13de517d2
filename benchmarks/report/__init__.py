"""Tables and pictures from the JSON lines that the benchmarks write."""
