"""Authorisation by Cedar."""

from ml_platform.integrations.cedar.authorizer import CedarAuthorizer

__all__ = ["CedarAuthorizer"]
