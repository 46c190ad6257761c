"""What Kopeck tells other servers: merchants' webhooks and affiliates' postbacks."""
