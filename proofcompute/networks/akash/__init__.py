"""Evidence for auditors of Akash, and deployments of nodes there."""
