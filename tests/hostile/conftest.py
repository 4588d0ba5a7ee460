"""The API and its tenants, for those who mean it no good."""

from tests.api.conftest import api, stranger, tenant

__all__ = ["api", "stranger", "tenant"]
