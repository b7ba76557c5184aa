"""Sources with typed columns: Parquet and Arrow, JSON lines, databases, frames."""
