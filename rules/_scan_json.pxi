# The JSON grammar (RFC 8259): over a value, which is checked and nothing else.
#
# Law: nothing looks behind the zero byte that ends a text, which no step takes.

cdef inline Text over_space(Text p) noexcept nogil:
    while p[0] == 32 or p[0] == 10 or p[0] == 13 or p[0] == 9:
        p += 1
    return p


cdef inline bint word(Walk* w, const char* text, int size) noexcept nogil:
    """``true``, ``false`` or ``null``."""
    cdef int i
    for i in range(size):
        if w.at[i] != <uint8_t> text[i]:
            return False
    w.at += size
    return True


cdef inline bint is_digit(uint8_t c) noexcept nogil:
    return 48 <= c <= 57


cdef bint number(Walk* w) noexcept nogil:
    """RFC 8259 section 6. Not ``-0``, whose canonical text is another."""
    cdef Text p = w.at
    cdef bint is_integer = True
    if p[0] == 45:
        p += 1
    if p[0] == 48:
        p += 1
    elif is_digit(p[0]):
        while is_digit(p[0]):
            p += 1
    else:
        return False
    if p[0] == 46:
        is_integer = False
        p += 1
        if not is_digit(p[0]):
            return False
        while is_digit(p[0]):
            p += 1
    if p[0] == 101 or p[0] == 69:
        is_integer = False
        p += 1
        if p[0] == 43 or p[0] == 45:
            p += 1
        if not is_digit(p[0]):
            return False
        while is_digit(p[0]):
            p += 1
    if p - w.at > MAX_NUMBER or (is_integer and w.at[0] == 45 and w.at[1] == 48):
        return False
    w.at = p
    return True


cdef inline int hex_digit(uint8_t c) noexcept nogil:
    if 48 <= c <= 57:
        return c - 48
    c |= 32
    return c - 87 if 97 <= c <= 102 else -1


cdef int code_unit(Text p) noexcept nogil:
    """The UTF-16 code unit that the escape at ``p`` writes, or -1."""
    cdef int i, digit, value = 0
    if p[0] != 92 or p[1] != 117:
        return -1
    for i in range(2, 6):
        digit = hex_digit(p[i])
        if digit < 0:
            return -1
        value = value * 16 + digit
    return value


cdef int code_point(Text* p) noexcept nogil:
    """The character of the escape at ``p``, which goes behind it; -1 for half a pair."""
    cdef int low, unit = code_unit(p[0])
    if unit < 0:
        return -1
    p[0] += 6
    if not 0xD800 <= unit < 0xE000:
        return unit
    low = code_unit(p[0])
    if unit >= 0xDC00 or not 0xDC00 <= low < 0xE000:
        return -1
    p[0] += 6
    return 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)


cdef inline Text over_plain(Text p, Text end) noexcept nogil:
    """Over characters that are themselves, eight at a time where there are as many."""
    cdef uint64_t x, special
    while end - p >= 8:
        memcpy(&x, p, 8)
        special = zero_in(x ^ 0x2222222222222222ULL) | zero_in(x ^ 0x5C5C5C5C5C5C5C5CULL)
        special |= (x - 0x2020202020202020ULL) & ~x & 0x8080808080808080ULL
        if special:
            break
        p += 8
    while kind[p[0]] == PLAIN:
        p += 1
    return p


cdef inline uint64_t zero_in(uint64_t x) noexcept nogil:
    """Not 0 where one of its bytes is 0."""
    return (x - 0x0101010101010101ULL) & ~x & 0x8080808080808080ULL


cdef bint skip_string(Walk* w) noexcept nogil:
    cdef Text p = w.at + 1
    cdef uint8_t k
    while True:
        p = over_plain(p, w.end)
        k = kind[p[0]]
        if k == QUOTE:
            w.at = p + 1
            return True
        elif k == CONTROL:
            return False
        elif after_backslash[p[1]] == 3:
            if code_point(&p) < 0:
                return False
        elif after_backslash[p[1]]:
            p += 2
        else:
            return False


cdef bint skip(Walk* w, int depth) noexcept nogil:
    """Over a value, which is checked and nothing else. ``depth``: brackets that are open."""
    cdef uint8_t c = w.at[0]
    if c == 34:
        return skip_string(w)
    if c == 123 or c == 91:
        return depth < MAX_DEPTH and skip_inside(w, depth + 1, c == 123)
    if c == 116:
        return word(w, b"true", 4)
    if c == 102:
        return word(w, b"false", 5)
    if c == 110:
        return word(w, b"null", 4)
    return number_or_zero(w)


cdef inline bint number_or_zero(Walk* w) noexcept nogil:
    """Any number, ``-0`` too."""
    if w.at[0] == 45 and w.at[1] == 48 and not (w.at[2] == 46 or (w.at[2] | 32) == 101):
        w.at += 2
        return True
    return number(w)


cdef bint skip_inside(Walk* w, int depth, bint is_object) noexcept nogil:
    cdef uint8_t closing = 125 if is_object else 93
    w.at = over_space(w.at + 1)
    if w.at[0] == closing:
        w.at += 1
        return True
    while True:
        if is_object and not to_value(w):
            return False
        if not skip(w, depth):
            return False
        w.at = over_space(w.at)
        if w.at[0] == closing:
            w.at += 1
            return True
        if w.at[0] != 44:
            return False
        w.at = over_space(w.at + 1)


cdef inline bint to_value(Walk* w) noexcept nogil:
    """Over a member's name and colon, to its value."""
    if w.at[0] != 34 or not skip_string(w):
        return False
    return over_colon(w)


cdef inline bint over_colon(Walk* w) noexcept nogil:
    w.at = over_space(w.at)
    if w.at[0] != 58:
        return False
    w.at = over_space(w.at + 1)
    return True


cdef inline bint plain_name(Walk* w, Span* name) noexcept nogil:
    """A member's name that has no escape, and over its colon. Names with one are compared by the
    exact way."""
    cdef Text p = w.at
    if p[0] != 34:
        return False
    p += 1
    while kind[p[0]] == PLAIN:
        p += 1
    if p[0] != 34:
        return False
    name.start = w.at + 1
    name.size = p - name.start
    w.at = p + 1
    return over_colon(w)


cdef inline bint same(const Span* a, const Span* b) noexcept nogil:
    if a.size != b.size or (a.size and a.start[0] != b.start[0]):
        return False
    return memcmp(a.start, b.start, a.size) == 0
