"""The browser of the tests of pages."""

from tests.page.conftest import browser, pictures

__all__ = ["browser", "pictures"]
