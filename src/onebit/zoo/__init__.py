"""The networks at their standard sizes: what they cost on disk, and what the literature reports of them."""
