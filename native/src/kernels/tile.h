// The unit of work that all kernels share.
//
// Every op computes its result in tiles of a few pixels x one block of output channels. Pixels are consecutive
// in row-major order, so a tile may wrap from one row to the next and small maps fill tiles as well as large ones.
// A tile lives in the first-level cache as [pixels][kBlock]; kernels fill it a few pixels at a time, the epilogue turns
// it into the values that are stored.
#pragma once

#include <cstddef>
#include <cstdint>

namespace onebit {

constexpr size_t kBlock = 64;      // channels of a tile; two words of bits, a whole number of vectors everywhere
constexpr size_t kMaxPixels = 24;  // pixels of a tile, at most
constexpr size_t kWordBits = 32;   // channels in one word of bits

constexpr size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// A table with one entry per channel is stored this long, so that a block that starts at any multiple of 32 below
// `channels` can be read in full.
constexpr size_t padded_channels(size_t channels) { return round_up(channels, kBlock) + kBlock; }

// Where channels come in several positions, each with entries of its own, those of a position start at a multiple of
// this, so that the bits among them start with a word.
constexpr size_t table_stride(size_t channels) { return round_up(channels, kWordBits); }

constexpr size_t words_for(size_t channels) { return (channels + kWordBits - 1) / kWordBits; }

}  // namespace onebit
