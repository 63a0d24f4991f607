"""Contacts read off attention maps, layer by layer."""
