"""The floor under every service: functions and values to call, no business noun, nothing to inherit."""
