"""Taking a layer home: a Hugging Face folder that stops there, and what reads its states, without this package."""
