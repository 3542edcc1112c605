"""The admin port.

::

    app.py       the listener: routes, token, problem documents
    records.py   looking up, listing, releasing and resolving records; knows no HTTP
    model.py     what the records API reads and writes
"""
