# Canonical text: members sorted by name, no space, strings by their characters, numbers by their
# text. It is what ``rules.request.fingerprints`` hashes.
#
# Law: it is never longer than what it is written from, and never leaves the buffers: a text that
# does not fit is left to the exact way.

cdef inline bint put(Walk* w, Text text, Py_ssize_t size) noexcept nogil:
    if w.out_end - w.out < size:
        return False
    memcpy(w.out, text, size)
    w.out += size
    return True


cdef inline bint put_one(Walk* w, uint8_t c) noexcept nogil:
    if w.out == w.out_end:
        return False
    w.out[0] = c
    w.out += 1
    return True


cdef bint put_character(Walk* w, int c) noexcept nogil:
    """As UTF-8. What canonical text escapes is not written here."""
    cdef uint8_t utf8[4]
    if c < 0x80:
        utf8[0] = c
        return kind[c] == PLAIN and put(w, utf8, 1)
    if c < 0x800:
        utf8[0] = 0xC0 | c >> 6
        utf8[1] = 0x80 | c & 63
        return put(w, utf8, 2)
    if c < 0x10000:
        utf8[0] = 0xE0 | c >> 12
        utf8[1] = 0x80 | c >> 6 & 63
        utf8[2] = 0x80 | c & 63
        return put(w, utf8, 3)
    utf8[0] = 0xF0 | c >> 18
    utf8[1] = 0x80 | c >> 12 & 63
    utf8[2] = 0x80 | c >> 6 & 63
    utf8[3] = 0x80 | c & 63
    return put(w, utf8, 4)


cdef bint write_string(Walk* w) noexcept nogil:
    cdef Text p = w.at + 1
    cdef Text verbatim = w.at    # from here on nothing is written yet
    cdef int c
    while True:
        p = over_plain(p, w.end)
        if p[0] == 34:
            w.at = p + 1
            return put(w, verbatim, p + 1 - verbatim)
        if p[0] != 92:
            return False
        if after_backslash[p[1]] == 1:
            p += 2
            continue
        if not put(w, verbatim, p - verbatim):
            return False
        if after_backslash[p[1]] == 2:
            p += 1
            verbatim = p
            p += 1
            continue
        c = code_point(&p)
        if c < 0 or not put_character(w, c):
            return False
        verbatim = p


cdef bint write(Walk* w, int depth, unsigned int active, int level) noexcept nogil:
    """A value, checked and written. ``active``: the pointers, a bit each, whose first ``level``
    tokens led here."""
    cdef uint8_t c = w.at[0]
    cdef Text start = w.at
    cdef bint good
    if c == 34:
        return write_string(w)
    if c == 123:
        return depth < MAX_DEPTH and write_object(w, depth + 1, active, level)
    if c == 91:
        return active == 0 and depth < MAX_DEPTH and write_array(w, depth + 1)
    if c == 116:
        good = word(w, b"true", 4)
    elif c == 102:
        good = word(w, b"false", 5)
    elif c == 110:
        good = word(w, b"null", 4)
    else:
        good = number(w)
    return good and put(w, start, w.at - start)


cdef bint write_array(Walk* w, int depth) noexcept nogil:
    w.at = over_space(w.at + 1)
    if not put_one(w, 91):
        return False
    if w.at[0] == 93:
        w.at += 1
        return put_one(w, 93)
    while True:
        if not write(w, depth, 0, 0):
            return False
        w.at = over_space(w.at)
        if w.at[0] == 93:
            w.at += 1
            return put_one(w, 93)
        if w.at[0] != 44 or not put_one(w, 44):
            return False
        w.at = over_space(w.at + 1)


cdef bint write_object(Walk* w, int depth, unsigned int active, int level) noexcept nogil:
    cdef int first = w.members
    cdef bint sorted_ = True
    cdef Member* m
    cdef uint8_t* base
    w.at = over_space(w.at + 1)
    if not put_one(w, 123):
        return False
    base = w.out
    if w.at[0] == 125:
        w.at += 1
        return put_one(w, 125)
    while True:
        if w.members == MEMBERS:
            return False
        m = &member[w.members]
        w.members += 1
        if not write_member(w, m, depth, active, level, base):
            return False
        if w.members - first > 1 and compared(m - 1, m) >= 0:
            sorted_ = False
        w.at = over_space(w.at)
        if w.at[0] == 125:
            break
        if w.at[0] != 44:
            return False
        w.at = over_space(w.at + 1)
    w.at += 1
    if not sorted_ and not in_order(w, &member[first], w.members - first, base):
        return False
    w.members = first
    return put_one(w, 125)


cdef bint write_member(
    Walk* w, Member* m, int depth, unsigned int active, int level, uint8_t* base
) noexcept nogil:
    """One member, behind a comma where it is not the object's first."""
    cdef uint8_t* before = w.out
    cdef Text start
    cdef unsigned int inner = 0
    cdef int leaf = -1, pointer
    cdef bint left_out = False
    if not plain_name(w, &m.name):
        return False
    if w.out != base and not put_one(w, 44):
        return False
    m.at = w.out
    if not (put(w, m.name.start - 1, m.name.size + 2) and put_one(w, 58)):
        return False
    if active:
        for pointer in range(w.wanted.pointers):
            if not active >> pointer & 1:
                continue
            if not same(&w.wanted.tokens[pointer][level], &m.name):
                continue
            if level + 1 < w.wanted.lengths[pointer]:
                inner |= <unsigned int> 1 << pointer
            elif pointer < w.wanted.keys:
                leaf = pointer
            else:
                left_out = True
    start = w.at
    if not write(w, depth, inner, level + 1):
        return False
    if leaf >= 0:
        w.found[leaf].start = start
        w.found[leaf].size = w.at - start
    m.size = w.out - m.at
    if left_out:
        m.size = 0
        w.out = before
    return True


cdef int compared(const Member* a, const Member* b) noexcept nogil:
    """By the names' bytes, which is by their characters."""
    cdef Py_ssize_t shorter = min(a.name.size, b.name.size)
    cdef int order
    if shorter and a.name.start[0] != b.name.start[0]:  # mostly, and without a call
        return <int> a.name.start[0] - <int> b.name.start[0]
    order = memcmp(a.name.start, b.name.start, shorter)
    if order:
        return order
    return (a.name.size > b.name.size) - (a.name.size < b.name.size)


cdef int compared_for_qsort(const void* a, const void* b) noexcept nogil:
    return compared(<const Member*> a, <const Member*> b)


cdef bint in_order(Walk* w, Member* m, int count, uint8_t* base) noexcept nogil:
    """Put the members' texts, which stand from ``base`` to ``w.out``, in order. False: a name
    stands twice, and the exact way knows which of the two counts."""
    cdef int i, j
    cdef Member one
    cdef Py_ssize_t size = 0
    if count <= FEW:
        for i in range(1, count):
            one = m[i]
            j = i
            while j > 0 and compared(&m[j - 1], &one) > 0:
                m[j] = m[j - 1]
                j -= 1
            m[j] = one
    else:
        qsort(m, count, sizeof(Member), compared_for_qsort)
    for i in range(count):
        if i and compared(&m[i - 1], &m[i]) == 0:
            return False
        if m[i].size == 0:
            continue
        if size:
            scratch[size] = 44
            size += 1
        memcpy(scratch + size, m[i].at, m[i].size)
        size += m[i].size
    memcpy(base, scratch, size)
    return True
