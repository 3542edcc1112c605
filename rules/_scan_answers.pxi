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
    cdef Py_ssize_t size = 2 + len(results), length
    cdef char* out
    cdef list unfinished = []
    for i, result in enumerate(results):
        if type(result) is not bytes:
            return None
        length = PyBytes_GET_SIZE(result)
        size += length
        if endings is not None:
            ending = <bytes?> endings[i] if endings[i] is not None else None
            if ending is None:
                continue
        out = PyBytes_AS_STRING(result)
        if length < 4 or out[0] != 123 or out[1] != 34 or out[length - 1] != 125:
            return None
        size += PyBytes_GET_SIZE(ending)
        unfinished.append(result)
    if may_have(b"".join(unfinished), names):
        return None
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, size)
    out = PyBytes_AS_STRING(whole)
    out[0] = 91
    out += 1
    for i, result in enumerate(results):
        if i:
            out[0] = 44
            out += 1
        if endings is not None:
            ending = <bytes> endings[i]
        length = PyBytes_GET_SIZE(result)
        memcpy(out, PyBytes_AS_STRING(result), length)
        out += length
        if ending is not None:  # over the closing brace
            out -= 1
            memcpy(out, PyBytes_AS_STRING(ending), PyBytes_GET_SIZE(ending))
            out += PyBytes_GET_SIZE(ending)
    out[0] = 93
    return whole[: out + 1 - PyBytes_AS_STRING(whole)]


cdef bint may_have(bytes text, list names) except *:
    """Whether one of the names may stand in ``text``, as it is or by escapes."""
    cdef const char* begin = PyBytes_AS_STRING(text)
    cdef size_t size = PyBytes_GET_SIZE(text)
    if memchr(begin, 92, size) != NULL and memmem(begin, size, b"\\u", 2) != NULL:
        return True
    for name in names:
        if memmem(begin, size, PyBytes_AS_STRING(<bytes?> name), PyBytes_GET_SIZE(name)) != NULL:
            return True
    return False
