/* BLAKE2b (RFC 7693) of up to four short texts at once, one in each lane of a vector.
 *
 * A batch's items and keys are hashed one by one in hashlib, a call and two blocks or three for
 * each; side by side they take a third of the time where the processor has 256-bit vectors, which
 * is found out when the module is loaded. Elsewhere the compiler makes narrower steps of the same
 * code. tests/rules/test_native.py holds it to hashlib.
 */
#ifndef IDEMPROXY_BLAKE2B_H
#define IDEMPROXY_BLAKE2B_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define B2B_BLOCK 128
#define B2B_LANES 4

typedef uint64_t b2b_words __attribute__((vector_size(8 * B2B_LANES)));

static const uint64_t b2b_iv[8] = {
    0x6a09e667f3bcc908u, 0xbb67ae8584caa73bu, 0x3c6ef372fe94f82bu, 0xa54ff53a5f1d36f1u,
    0x510e527fade682d1u, 0x9b05688c2b3e6c1fu, 0x1f83d9abfb41bd6bu, 0x5be0cd19137e2179u};

static const uint8_t b2b_sigma[12][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3}};

#define B2B_TURN(x, n) (((x) >> (n)) | ((x) << (64 - (n))))

#define B2B_G(r, i, a, b, c, d)                                                                    \
    do {                                                                                           \
        a = a + b + m[b2b_sigma[r][2 * i]];                                                        \
        d = B2B_TURN(d ^ a, 32);                                                                   \
        c = c + d;                                                                                 \
        b = B2B_TURN(b ^ c, 24);                                                                   \
        a = a + b + m[b2b_sigma[r][2 * i + 1]];                                                    \
        d = B2B_TURN(d ^ a, 16);                                                                   \
        c = c + d;                                                                                 \
        b = B2B_TURN(b ^ c, 63);                                                                   \
    } while (0)

#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
#define B2B_FOR_EVERY_PROCESSOR                                                                    \
    __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define B2B_FOR_EVERY_PROCESSOR
#endif

/* The digests, of ``length`` bytes, of ``n`` texts (1 to 4), none of which is empty. With a key of
 * ``key_size`` bytes each text begins with it, padded by zeros to a block. */
B2B_FOR_EVERY_PROCESSOR
static void b2b_each(int n, const uint8_t *const *texts, const size_t *sizes,
                     uint8_t *const *digests, size_t length, size_t key_size)
{
    b2b_words h[8], v[16], m[16];
    uint8_t padded[B2B_BLOCK];
    size_t most = 0;
    for (int lane = 0; lane < n; lane++)
        most = sizes[lane] > most ? sizes[lane] : most;
    for (int i = 0; i < 8; i++)
        h[i] = (b2b_words){0} + b2b_iv[i];
    h[0] ^= (b2b_words){0} + (0x01010000u ^ (key_size << 8) ^ length);
    for (size_t at = 0; at < most; at += B2B_BLOCK) {
        b2b_words count = {0}, last = {0}, live = {0};
        for (int i = 0; i < 16; i++)
            m[i] = (b2b_words){0};
        for (int lane = 0; lane < n; lane++) {
            if (at >= sizes[lane])
                continue; /* this text has ended: its lane goes on for nothing */
            size_t left = sizes[lane] - at;
            const uint8_t *block = texts[lane] + at;
            if (left < B2B_BLOCK) {
                memcpy(padded, block, left);
                memset(padded + left, 0, B2B_BLOCK - left);
                block = padded;
            }
            for (int i = 0; i < 16; i++) {
                uint64_t word;
                memcpy(&word, block + 8 * i, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
                word = __builtin_bswap64(word);
#endif
                m[i][lane] = word;
            }
            count[lane] = at + (left < B2B_BLOCK ? left : B2B_BLOCK);
            last[lane] = left <= B2B_BLOCK ? ~(uint64_t)0 : 0;
            live[lane] = ~(uint64_t)0;
        }
        for (int i = 0; i < 8; i++) {
            v[i] = h[i];
            v[i + 8] = (b2b_words){0} + b2b_iv[i];
        }
        v[12] ^= count;
        v[14] ^= last;
#pragma GCC unroll 12
        for (int r = 0; r < 12; r++) {
            B2B_G(r, 0, v[0], v[4], v[8], v[12]);
            B2B_G(r, 1, v[1], v[5], v[9], v[13]);
            B2B_G(r, 2, v[2], v[6], v[10], v[14]);
            B2B_G(r, 3, v[3], v[7], v[11], v[15]);
            B2B_G(r, 4, v[0], v[5], v[10], v[15]);
            B2B_G(r, 5, v[1], v[6], v[11], v[12]);
            B2B_G(r, 6, v[2], v[7], v[8], v[13]);
            B2B_G(r, 7, v[3], v[4], v[9], v[14]);
        }
        for (int i = 0; i < 8; i++)
            h[i] ^= (v[i] ^ v[i + 8]) & live;
    }
    for (int lane = 0; lane < n; lane++) {
        uint8_t whole[64];
        for (int i = 0; i < 64; i++)
            whole[i] = (uint8_t)(h[i / 8][lane] >> (8 * (i % 8)));
        memcpy(digests[lane], whole, length);
    }
}

#endif
