# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: freethreading_compatible=False
"""A batch's JSON text in one pass: items' keys and fingerprints, results' bytes, where things stand.

Law: what it gives is what the exact way gives (``rules.request``, ``rules.jsontext``), else it
gives None and the exact way decides: whatever is not JSON, nested too deep or too long for the
fixed buffers here, a name that repeats, an escape where text is compared. It never writes outside
those buffers, and reads nothing behind a text's end: a Python bytes object ends with a zero byte,
which no step of the grammar takes. The text is known to be UTF-8.

This is the compiled build's reader; the pure one has none and goes the way of ``rules.contents``.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport qsort
from libc.string cimport memchr, memcmp, memcpy


cdef extern from "<string.h>" nogil:
    void* memmem(const void* text, size_t size, const void* name, size_t name_size)

cdef extern from "blake2b.h" nogil:
    void b2b_each(int n, const uint8_t** texts, const size_t* sizes, uint8_t** digests,
                  size_t length, size_t key_size)


cdef enum:
    MAX_DEPTH = 64
    MAX_KEY_BYTES = 255
    MAX_NUMBER = 300      # characters; longer ones are somebody's attack, and not read here
    POINTERS = 16         # of a rule, keys and exclusions together
    TOKENS = 8            # of one pointer
    MEMBERS = 1024        # of the objects that are open at once
    FEW = 16              # are sorted by insertion
    TEXT = 262144         # bytes of canonical text
    LANES = 4
    FINGERPRINT = 16
    PLACE = 2 * sizeof(Py_ssize_t)
    ROOM = 128            # of slices, to begin with

cdef enum Kind:
    PLAIN, QUOTE, BACKSLASH, CONTROL

ctypedef const uint8_t* Text

cdef struct Span:
    Text start
    Py_ssize_t size

cdef struct Member:
    Span name
    uint8_t* at           # its canonical text, without a comma
    Py_ssize_t size       # 0: left out

cdef struct Walk:
    Text at               # what comes next
    Text end              # of the text, where a zero stands
    uint8_t* out          # where canonical text goes next
    uint8_t* out_end
    int members           # in use
    const Wanted* wanted
    Span found[POINTERS]

cdef struct Wanted:
    Span tokens[POINTERS][TOKENS]
    int lengths[POINTERS]
    int keys              # the first so many pointers; the others are left out of the text
    int pointers

# One thread at a time: whoever reads holds the interpreter's lock.
cdef Member member[MEMBERS]
cdef uint8_t canonical[TEXT]
cdef uint8_t scratch[TEXT]

cdef uint8_t kind[256]
cdef uint8_t after_backslash[256]   # 1: as short as can be; 2: a slash; 3: a code unit

for _i in range(256):
    kind[_i] = CONTROL if _i < 32 else PLAIN
    after_backslash[_i] = 0
kind[34] = QUOTE
kind[92] = BACKSLASH
for _c in (34, 92, 98, 102, 110, 114, 116):
    after_backslash[_c] = 1
after_backslash[47] = 2
after_backslash[117] = 3


include "_scan_slices.pxi"
include "_scan_json.pxi"
include "_scan_canonical.pxi"
include "_scan_readers.pxi"
include "_scan_answers.pxi"
