# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Store keys and stored records for a whole batch in one go: the compiled build's way.

Law: what it gives is what ``proxy.core.keys`` and ``proxy.core.codec`` give for the same, else it
gives None and they do the work: a key with half a surrogate pair, a record that is not the usual
one.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport uint8_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memcmp, memcpy


cdef extern from "blake2b.h" nogil:
    void b2b_each(int n, const uint8_t** texts, const size_t* sizes, uint8_t** digests,
                  size_t length, size_t key_size)


cdef enum:
    LANES = 4
    TEXT = 4096           # bytes of one hashed text; longer ones are hashed elsewhere
    DIGEST = 24
    CHARACTERS = 32
    DONE_HEAD = 20        # version, flags, token, time: see proxy/core/codec.py
    USUAL_HEAD = 36       # the fingerprint behind it
    LENGTH_WORD = 32      # what stands before a word of a command, at most

cdef const char* URLSAFE = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
cdef uint8_t texts[LANES][TEXT]


cdef class KeyDigester:
    """Store keys of one rule, generation and scope. ``lead``: what each hashed text begins with;
    of it the first block is the key, of ``key_size`` bytes, where there is one. ``heads``: what a
    store key begins with, by its digest's first byte."""

    cdef bytes _lead
    cdef size_t _key_size
    cdef list _heads

    def __init__(self, bytes lead not None, size_t key_size, list heads not None):
        self._lead = lead
        self._key_size = key_size
        self._heads = heads
        if len(heads) != 256:
            raise ValueError("a head for each byte")

    def store_keys(self, keys):
        """One for each of ``keys``, which are tuples of strings and integers."""
        cdef list made = []
        cdef const uint8_t* lanes[LANES]
        cdef size_t sizes[LANES]
        cdef Py_ssize_t size
        cdef int pending = 0
        for key in keys:
            if pending == LANES:
                self._hash(pending, lanes, sizes, made)
                pending = 0
            size = self._text(<tuple?> key, texts[pending])
            if size < 0:
                return None
            lanes[pending] = texts[pending]
            sizes[pending] = size
            pending += 1
        if pending:
            self._hash(pending, lanes, sizes, made)
        return made

    cdef Py_ssize_t _text(self, tuple key, uint8_t* out) except -2:
        """What is hashed for one key: each value with its type and length. -1: not here."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(self._lead), length
        cdef const char* text
        cdef char mark
        if size > TEXT // 2:
            return -1
        memcpy(out, PyBytes_AS_STRING(self._lead), size)
        for value in key:
            if type(value) is str:
                mark = 115
                try:
                    text = PyUnicode_AsUTF8AndSize(value, &length)
                except UnicodeEncodeError:
                    return -1
            elif type(value) is int:
                mark = 105
                value = b"%d" % value
                text, length = PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)
            else:
                return -1
            if TEXT - size < length + LENGTH_WORD:
                return -1
            size += snprintf(<char*> out + size, LENGTH_WORD, "%c%zd:", mark, length)
            memcpy(out + size, text, length)
            size += length
        return size

    cdef int _hash(self, int n, const uint8_t** lanes, size_t* sizes, list made) except -1:
        cdef uint8_t digests[LANES][DIGEST]
        cdef uint8_t* where[LANES]
        cdef int lane
        for lane in range(n):
            where[lane] = digests[lane]
        b2b_each(n, lanes, sizes, where, DIGEST, self._key_size)
        for lane in range(n):
            made.append(self._made(digests[lane]))
        return 0

    cdef bytes _made(self, const uint8_t* digest):
        cdef bytes head = <bytes> self._heads[digest[0]]
        cdef Py_ssize_t size = PyBytes_GET_SIZE(head)
        cdef bytes key = PyBytes_FromStringAndSize(NULL, size + CHARACTERS)
        cdef char* out = PyBytes_AS_STRING(key)
        cdef unsigned int three
        cdef int i
        memcpy(out, PyBytes_AS_STRING(head), size)
        out += size
        for i in range(0, DIGEST, 3):
            three = digest[i] << 16 | digest[i + 1] << 8 | digest[i + 2]
            out[0] = URLSAFE[three >> 18]
            out[1] = URLSAFE[three >> 12 & 63]
            out[2] = URLSAFE[three >> 6 & 63]
            out[3] = URLSAFE[three & 63]
            out += 4
        return key


def commit_words(fingerprints, results, bytes head not None):
    """Done records as words of a Redis command, each behind the end of the word before it:
    ``head``, fingerprint, result. None where one of them has no fingerprint or no result."""
    cdef Py_ssize_t size = 0, length
    cdef char* out
    if len(fingerprints) != len(results) or PyBytes_GET_SIZE(head) != DONE_HEAD:
        return None
    for fingerprint, result in zip(fingerprints, results):
        if type(fingerprint) is not bytes or type(result) is not bytes:
            return None
        if PyBytes_GET_SIZE(fingerprint) != USUAL_HEAD - DONE_HEAD:
            return None
        size += LENGTH_WORD + USUAL_HEAD + PyBytes_GET_SIZE(result)
    cdef bytes words = PyBytes_FromStringAndSize(NULL, size)
    cdef char* begin = PyBytes_AS_STRING(words)
    out = begin
    for fingerprint, result in zip(fingerprints, results):
        length = PyBytes_GET_SIZE(result)
        out += snprintf(out, LENGTH_WORD, "\r\n$%zd\r\n", USUAL_HEAD + length)
        memcpy(out, PyBytes_AS_STRING(head), DONE_HEAD)
        memcpy(out + DONE_HEAD, PyBytes_AS_STRING(fingerprint), USUAL_HEAD - DONE_HEAD)
        memcpy(out + USUAL_HEAD, PyBytes_AS_STRING(result), length)
        out += USUAL_HEAD + length
    return words[: out - begin]


def usual_records(list values not None, bytes usual not None, make):
    """``make(token, processed at, fingerprint, result)`` of each stored record, all of which begin
    with the bytes ``usual``; None where one does not."""
    cdef Py_ssize_t size
    cdef const char* text
    cdef const char* known = NULL
    cdef list records = []
    cdef uint64_t at
    cdef int i
    token = processed_at = None
    for value in values:
        if type(value) is not bytes:
            return None
        size = PyBytes_GET_SIZE(value)
        text = PyBytes_AS_STRING(value)
        if size < USUAL_HEAD or memcmp(text, PyBytes_AS_STRING(usual), 2) != 0:
            return None
        if known == NULL or memcmp(known, text, DONE_HEAD) != 0:
            known = text
            token = PyBytes_FromStringAndSize(text + 2, DONE_HEAD - 8)
            at = 0
            for i in range(DONE_HEAD - 6, DONE_HEAD):
                at = at << 8 | <uint8_t> text[i]
            processed_at = at
        records.append(
            make(
                token,
                processed_at,
                PyBytes_FromStringAndSize(text + DONE_HEAD, USUAL_HEAD - DONE_HEAD),
                PyBytes_FromStringAndSize(text + USUAL_HEAD, size - USUAL_HEAD),
            )
        )
    return records
