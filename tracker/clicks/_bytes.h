/*
 * The arithmetic of _redirect.pyx and _batch.pyx, without any Python: BLAKE2b (RFC 7693) of one
 * block behind a key, CRC-32 as zlib has it, base64url without padding (RFC 4648, section 5).
 */
#ifndef KOPECK_BYTES_H
#define KOPECK_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* ---- numbers as bytes ---- */

static inline uint64_t little64(const uint8_t *bytes)
{
    uint64_t word = 0;
    for (int i = 7; i >= 0; i--) {
        word = word << 8 | bytes[i];
    }
    return word;
}

static inline uint32_t little32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static inline void put_little(uint8_t *to, uint64_t number, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        to[i] = (uint8_t)(number >> 8 * i);
    }
}

static inline void put_big(uint8_t *to, uint64_t number, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        to[i] = (uint8_t)(number >> 8 * (bytes - 1 - i));
    }
}

/* Whether no byte is above 127. */
static inline int is_ascii(const uint8_t *at, size_t bytes)
{
    for (; bytes >= 8; bytes -= 8, at += 8) {
        if (little64(at) & 0x8080808080808080ULL) {
            return 0;
        }
    }
    for (; bytes; bytes--, at++) {
        if (*at & 0x80) {
            return 0;
        }
    }
    return 1;
}

/* ---- BLAKE2b, 16 bytes long ---- */

enum { DIGEST_BYTES = 16, BLOCK_BYTES = 128, KEY_BYTES_MAX = 64 };

/* A key that was taken in once, for many short messages. */
typedef struct {
    uint64_t state[8];
} Keyed;

static const uint64_t BLAKE2B_IV[8] = {
    0x6a09e667f3bcc908ULL, 0xbb67ae8584caa73bULL, 0x3c6ef372fe94f82bULL, 0xa54ff53a5f1d36f1ULL,
    0x510e527fade682d1ULL, 0x9b05688c2b3e6c1fULL, 0x1f83d9abfb41bd6bULL, 0x5be0cd19137e2179ULL,
};

static inline uint64_t rotated(uint64_t word, int bits)
{
    return word >> bits | word << (64 - bits);
}

#define MIX(a, b, c, d, x, y)                                                                      \
    v[a] += v[b] + m[x];                                                                           \
    v[d] = rotated(v[d] ^ v[a], 32);                                                               \
    v[c] += v[d];                                                                                  \
    v[b] = rotated(v[b] ^ v[c], 24);                                                               \
    v[a] += v[b] + m[y];                                                                           \
    v[d] = rotated(v[d] ^ v[a], 16);                                                               \
    v[c] += v[d];                                                                                  \
    v[b] = rotated(v[b] ^ v[c], 63);

/* One round; its arguments are the row of the message schedule (RFC 7693, section 2.7). */
#define ROUND(a, b, c, d, e, f, g, h, i, j, k, l, n, o, p, q)                                      \
    MIX(0, 4, 8, 12, a, b)                                                                         \
    MIX(1, 5, 9, 13, c, d)                                                                         \
    MIX(2, 6, 10, 14, e, f)                                                                        \
    MIX(3, 7, 11, 15, g, h)                                                                        \
    MIX(0, 5, 10, 15, i, j)                                                                        \
    MIX(1, 6, 11, 12, k, l)                                                                        \
    MIX(2, 7, 8, 13, n, o)                                                                         \
    MIX(3, 4, 9, 14, p, q)

static inline void compress(uint64_t state[8], const uint8_t block[BLOCK_BYTES], uint64_t seen,
                            int last)
{
    uint64_t v[16], m[16];
    memcpy(v, state, 64);
    memcpy(v + 8, BLAKE2B_IV, 64);
    v[12] ^= seen;
    if (last) {
        v[14] = ~v[14];
    }
    for (int i = 0; i < 16; i++) {
        m[i] = little64(block + 8 * i);
    }
    ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
    ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3)
    ROUND(11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4)
    ROUND(7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8)
    ROUND(9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13)
    ROUND(2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9)
    ROUND(12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11)
    ROUND(13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10)
    ROUND(6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5)
    ROUND(10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0)
    ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
    ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3)
    for (int i = 0; i < 8; i++) {
        state[i] ^= v[i] ^ v[i + 8];
    }
}

#undef ROUND
#undef MIX

/* A key of 1 to KEY_BYTES_MAX bytes. */
static inline void take_key(Keyed *keyed, const uint8_t *key, size_t key_bytes)
{
    uint8_t block[BLOCK_BYTES] = {0};
    memcpy(block, key, key_bytes);
    memcpy(keyed->state, BLAKE2B_IV, 64);
    keyed->state[0] ^= 0x01010000ULL ^ (uint64_t)key_bytes << 8 ^ DIGEST_BYTES;
    compress(keyed->state, block, BLOCK_BYTES, 0);
}

/* Of a message of 1 to BLOCK_BYTES bytes. */
static inline void digest(const Keyed *keyed, const uint8_t *message, size_t bytes, uint8_t *to)
{
    uint64_t state[8];
    uint8_t block[BLOCK_BYTES] = {0};
    memcpy(state, keyed->state, 64);
    memcpy(block, message, bytes);
    compress(state, block, BLOCK_BYTES + bytes, 1);
    put_little(to, state[0], 8);
    put_little(to + 8, state[1], 8);
}

/* ---- CRC-32, eight bytes at a time ---- */

static uint32_t CRC[8][256];

static void fill_crc_tables(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t word = byte;
        for (int bit = 0; bit < 8; bit++) {
            word = word >> 1 ^ (word & 1 ? 0xEDB88320U : 0);
        }
        CRC[0][byte] = word;
    }
    for (int row = 1; row < 8; row++) {
        for (int byte = 0; byte < 256; byte++) {
            CRC[row][byte] = CRC[row - 1][byte] >> 8 ^ CRC[0][CRC[row - 1][byte] & 0xFF];
        }
    }
}

static uint32_t crc32_of(const uint8_t *at, size_t bytes)
{
    uint32_t crc = 0xFFFFFFFFU;
    for (; bytes >= 8; bytes -= 8, at += 8) {
        uint64_t word = little64(at) ^ crc;
        crc = CRC[7][word & 0xFF] ^ CRC[6][word >> 8 & 0xFF] ^ CRC[5][word >> 16 & 0xFF] ^
              CRC[4][word >> 24 & 0xFF] ^ CRC[3][word >> 32 & 0xFF] ^ CRC[2][word >> 40 & 0xFF] ^
              CRC[1][word >> 48 & 0xFF] ^ CRC[0][word >> 56];
    }
    for (; bytes; bytes--, at++) {
        crc = crc >> 8 ^ CRC[0][(crc ^ *at) & 0xFF];
    }
    return ~crc;
}

/* ---- base64url ---- */

/* Returns where the text ends; it takes four characters for three bytes. */
static inline char *url_safe(char *to, const uint8_t *from, size_t bytes)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (; bytes >= 3; bytes -= 3, from += 3) {
        uint32_t three = (uint32_t)from[0] << 16 | (uint32_t)from[1] << 8 | from[2];
        *to++ = letters[three >> 18];
        *to++ = letters[three >> 12 & 63];
        *to++ = letters[three >> 6 & 63];
        *to++ = letters[three & 63];
    }
    if (bytes) {
        uint32_t rest = (uint32_t)from[0] << 16 | (bytes == 2 ? (uint32_t)from[1] << 8 : 0);
        *to++ = letters[rest >> 18];
        *to++ = letters[rest >> 12 & 63];
        if (bytes == 2) {
            *to++ = letters[rest >> 6 & 63];
        }
    }
    return to;
}

#endif
