"""The platform in a cluster: one chart, its examples, and what it looks like rendered."""
