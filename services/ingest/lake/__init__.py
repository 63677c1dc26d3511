"""Files: the landing folder where suppliers put them, and the lake of Parquet where they end."""
