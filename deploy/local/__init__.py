"""The platform on one machine: PostgreSQL, the services and Envoy as plain processes (`make up`, `make down`)."""
