"""What to do: one pydantic model a stage is the YAML file, the verb's flags and the form in the TUI."""
