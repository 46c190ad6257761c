"""A local server that behaves like Stripe Connect where Kopeck leans on it.

It keeps its own state on disk, so that it survives our crashes and we survive its. Run it with
``python -m sandbox.stripe --port 12111 --data DIR``. Everything under ``/v1`` answers like Stripe;
everything under ``/_double`` is ours: the oracle, the clock, balances, accounts and faults.

Read in this order: ``wire`` (requests, answers, refusals), ``store`` (disk), ``engine`` (the layers
that each request passes), then the nouns ``accounts``, ``transfers``, ``reversals``, ``balances``
``payouts``, ``capabilities`` and ``events``; ``webhooks`` sends the events; ``faults`` and
``control`` are for tests; ``pages`` and ``console`` are for people.
"""
