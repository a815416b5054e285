"""Programs: models as data, their operations, and the interpreter that runs them."""
