"""A study: the runs that a TOML file asks for, on folds of patients. The only place where names become objects."""
