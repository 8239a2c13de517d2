"""The networks at their standard sizes: file sizes and published results."""
