"""The front door: Envoy's configuration, made from the contract itself."""
