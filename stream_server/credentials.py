"""The one app that this server knows. Its secret is well known, and protects nothing."""

API_KEY = "local-key"
API_SECRET = "local-secret"
