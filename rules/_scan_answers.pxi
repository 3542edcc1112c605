# The list of results in an answer.
#
# Law: a result's bytes are copied; what follows its members is given.

def ended(results not None, bytes ending not None, list names not None):
    """The JSON array of ``results``, each with ``ending`` in place of its closing brace. None where
    one is no object with members, without space around it, or may have a member called as one of
    ``names``, which are in quotes and made of ASCII letters and digits."""
    return joined(results, None, ending, names)


def ended_each(list results not None, list endings not None, list names not None):
    """The same, each with its own of ``endings``; where that is None the result stands as it is."""
    if len(results) != len(endings):
        raise ValueError("an ending for each result")
    return joined(results, endings, None, names)


cdef joined(results, list endings, bytes ending, list names):
    cdef Py_ssize_t i, size, length, count = len(results)
    cdef const char* text
    cdef char* out
    size = 2 + count
    results = steady(results)
    for i in range(count):
        text = piece(results, i, &length)
        if text == NULL:
            return None
        size += length
        if endings is not None:
            ending = <bytes?> endings[i] if endings[i] is not None else None
            if ending is None:
                continue
        if length < 4 or text[0] != 123 or text[1] != 34 or text[length - 1] != 125:
            return None
        size += PyBytes_GET_SIZE(ending)
    if one_may_have(results, endings, names):
        return None
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, size)
    out = PyBytes_AS_STRING(whole)
    out[0] = 91
    out += 1
    for i in range(count):
        if i:
            out[0] = 44
            out += 1
        if endings is not None:
            ending = <bytes> endings[i]
        text = piece(results, i, &length)
        memcpy(out, text, length)
        out += length
        if ending is not None:  # over the closing brace
            out -= 1
            memcpy(out, PyBytes_AS_STRING(ending), PyBytes_GET_SIZE(ending))
            out += PyBytes_GET_SIZE(ending)
    out[0] = 93
    return whole[: out + 1 - PyBytes_AS_STRING(whole)]


cdef bint one_may_have(results, list endings, list names) except *:
    """Whether one of the names may stand in a result that takes an ending."""
    cdef const char* begin
    cdef const char* last
    cdef Py_ssize_t size
    cdef bytes text
    if endings is None and type(results) is Slices and len(results):
        # Elements of one list: between them is nothing that could be a name.
        begin = piece(results, 0, &size)
        last = piece(results, len(results) - 1, &size)
        return may_have(begin, last + size - begin, names)
    if endings is not None:
        results = [result for result, ending in zip(results, endings) if ending is not None]
    text = gathered(results)
    return may_have(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), names)


cdef bytes gathered(results):
    """All of them in one text."""
    cdef Py_ssize_t i, length, size = 0, count = len(results)
    cdef const char* text
    for i in range(count):
        piece(results, i, &length)
        size += length
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, size)
    cdef char* out = PyBytes_AS_STRING(whole)
    for i in range(count):
        text = piece(results, i, &length)
        memcpy(out, text, length)
        out += length
    return whole


cdef bint may_have(const char* begin, size_t size, list names) except *:
    """Whether one of the names may stand in this text, as it is or by escapes."""
    if memchr(begin, 92, size) != NULL and memmem(begin, size, b"\\u", 2) != NULL:
        return True
    for name in names:
        if memmem(begin, size, PyBytes_AS_STRING(<bytes?> name), PyBytes_GET_SIZE(name)) != NULL:
            return True
    return False
