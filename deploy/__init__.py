"""How the platform is run: on one machine (`local`), behind its front door (`mesh`), and in a cluster (`k8s`)."""
