"""What a run is told: the schema, the seed-era translation, and edits."""
