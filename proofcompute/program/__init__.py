"""Programs: a model as data, its operations, and the one interpreter that runs them."""
