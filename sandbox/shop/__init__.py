"""Lamp & Leaf: a demo shop that integrates Kopeck as a real shop would.

A site of its own (localhost, where Kopeck is 127.0.0.1) with its own orders in SQLite. It embeds
the pixel, sends each order from its server out of an outbox, and refunds and cancels by the API.
Start it with ``python -m sandbox.shop``; docs/integration.md walks through what it does.
"""
