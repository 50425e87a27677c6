"""The report of a study: one page that opens offline, its tables as files. Draws and lists; computes no statistic."""
