"""``idemproxy demo``: the main job, side by side in a terminal.

::

    stage.py    two copies of the legacy service, and the proxy in front of one of them
    script.py   the three batches, sent straight to the one and through the proxy to the other
    view.py     what happened, as tables; what to try next

Law: nothing is staged but the batches. The services are real, the proxy is a process of its own,
every number that is shown was counted, and a run that does not come out as promised fails.
"""
