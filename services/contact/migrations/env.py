from services.kit import migrate

migrate.run_env()
