# SPDX-License-Identifier: Apache-2.0
"""The random numbers of the program, as include/ssmsweep/base/random.h has them."""
MASK = (1 << 64) - 1


def random_bits(stream, index):
    z = (stream + (index + 1) * 0x9e3779b97f4a7c15) & MASK
    z = ((z ^ z >> 30) * 0xbf58476d1ce4e5b9) & MASK
    z = ((z ^ z >> 27) * 0x94d049bb133111eb) & MASK
    return z ^ z >> 31


def random_stream(seed, name):
    value = 0xcbf29ce484222325
    for c in name.encode():
        value = ((value ^ c) * 0x100000001b3) & MASK
    return random_bits(random_bits(seed, 0) ^ value, 0)
