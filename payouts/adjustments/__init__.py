"""Corrections of a balance by two people: adjust and write off, each with its reason."""
