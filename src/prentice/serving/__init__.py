"""Answers over HTTP in OpenAI's form, recorded as they are given; feedback comes in the same way."""
