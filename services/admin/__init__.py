"""admin: system management (系统管理): organisations, principals, roles, settings, the operation log, tokens."""
