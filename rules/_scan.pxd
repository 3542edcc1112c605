# What the other native module takes from this one: texts one by one, without an object for each.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE


cdef class Slices:
    cdef bytes text
    cdef Py_ssize_t* _places       # of each: where it begins, and what is behind it
    cdef Py_ssize_t count
    cdef Py_ssize_t _room

    cdef int add(self, Py_ssize_t start, Py_ssize_t end) except -1


cdef class Tails:
    cdef list texts
    cdef Py_ssize_t at


cdef inline const char* piece(object texts, Py_ssize_t i, Py_ssize_t* size) noexcept:
    """The ith of ``steady`` texts; NULL where it is no bytes."""
    cdef Slices slices
    if type(texts) is Slices:
        slices = <Slices> texts
        size[0] = slices._places[2 * i + 1] - slices._places[2 * i]
        return PyBytes_AS_STRING(slices.text) + slices._places[2 * i]
    if type(texts) is Tails:
        one = (<Tails> texts).texts[i]
        size[0] = PyBytes_GET_SIZE(one) - (<Tails> texts).at
        return PyBytes_AS_STRING(one) + (<Tails> texts).at
    one = (<list> texts)[i]
    if type(one) is not bytes:
        return NULL
    size[0] = PyBytes_GET_SIZE(one)
    return PyBytes_AS_STRING(one)


cdef inline object steady(object texts):
    """The same texts, and what holds them as long as it is held."""
    if type(texts) is Slices or type(texts) is Tails or type(texts) is list:
        return texts
    return list(texts)
