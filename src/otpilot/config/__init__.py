"""What a run is told: the schema, the translation of older configs, and edits."""
