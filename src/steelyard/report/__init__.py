"""The page that shows a study, and its tables as files. Draws numbers, computes no statistic."""
