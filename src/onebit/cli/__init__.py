"""The command line: one module per verb (parse, run, show); importing this package imports none of them."""
