"""Images of the services: what one holds, its bill of materials, and a test that builds and runs them all."""
