"""What internal systems and integrations install to speak to Lifecircle (生活圈)."""
