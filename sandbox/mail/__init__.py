"""Mail catcher: takes every mail over SMTP, delivers none, shows them on a page."""
