"""Pictures and pages made from run records; never imports torch."""
