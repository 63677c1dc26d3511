"""The web console: a client of the platform with one sign-in for all of it; imports lifecircle and no service."""
