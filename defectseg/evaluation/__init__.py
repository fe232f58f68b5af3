"""How good a model is, measured through prediction as it will be used."""
