"""The demo: a program to play with, and a year of history."""
