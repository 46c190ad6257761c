"""What a rail's provider says happened, and whether its books are ours: webhooks, catch-up,
reconciliation in both directions. Above batches: it settles and reverses what they sent.

Read in this order: `rules` (what a transfer means for an item, pure), `models`, `transfers`,
`payees` and `bank` (what is seen becomes what we know), `receive`, `digest` and `catch_up`
(events), `reconcile` and `gate`, then the edges.
"""
