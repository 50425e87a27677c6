"""A page to look at cases with, in any browser, offline."""

from steelyard.views.viewer.page import viewer_link, write_viewer

__all__ = ["viewer_link", "write_viewer"]
