"""The price of a miss against the price of a spill: chosen on inner folds, tried once on patients never seen."""
