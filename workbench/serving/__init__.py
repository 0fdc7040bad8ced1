"""A model behind HTTP, in OpenAI's form: what may be asked, in which order it is answered, and how that is told."""
