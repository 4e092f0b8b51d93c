"""The host: its services, their order, their failures and their end."""
