"""Log-in at an identity provider by OpenID Connect: its description and keys, tokens, claims and the code flow."""
