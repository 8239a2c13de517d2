// Kernels of the binary convolution: count differing bits for one tile.
//
// With w, x in {-1, +1} stored as bits (1 = -1), a product is -1 where the bits differ, so the sum of `depth` products
// is `depth - 2 * diff`. Kernels count `diff`. The epilogue computes the sum, because the depth varies from pixel to
// pixel: taps on zero padding do not count.
//
// Activations are *prepared* for the kernel: padded, regrouped so that every group starts at a word, and each 32-bit
// word converted to the kernel's layout of `word_bytes` bytes. The taps of a pixel are then a few contiguous runs of
// words at fixed offsets from its first tap. A kernel may compute a *span* of pixels from one address: neighbors in a
// row of the output, whose first taps are `distance` pixels apart in the prepared row; the prepared word then holds
// the bits of all of them. Where a row ends inside a span, the results past its end are not used.
//
// Weights are packed once per network, in blocks of kBlock output channels: block[word][channel], the words in the
// order of the runs. `pack_weights` packs a block in the kernel's layout. Missing channels and unused bits are 0 in
// weights and activations, so they never differ.
#pragma once

#include "kernels/tile.h"
#include "onebit/isa.h"

namespace onebit {

struct BinaryTile {
  const uint8_t* const* spans;  // address of each span's first tap
  size_t span_count;            // 1 ... kernel.pixels / kernel.span
  const ptrdiff_t* runs;        // byte offset of each run from the first tap
  size_t run_count;
  size_t run_words;        // words in each run
  const uint8_t* weights;  // of one block
  size_t channels;         // of the block, 1 ... kBlock
  int32_t* diff;           // [span_count * span][kBlock]; entries of missing channels are undefined
};

// Prepares a row of `pixels` pixels of `words` words. `row` must be readable for `distance` pixels and kRowSlack words
// past its end; what is there has no effect.
constexpr size_t kRowSlack = 8;
using PrepareRow = void(const uint32_t* row, size_t pixels, size_t words, size_t distance, uint8_t* prepared);

struct BinaryConvKernel {
  Isa isa;
  const char* name;
  size_t pixels;        // pixels of a full tile
  size_t span;          // pixels computed from one address
  size_t word_bytes;    // bytes of one activation word, prepared
  size_t weight_bytes;  // bytes of one weight word of one channel, packed
  size_t best_from;     // words of a run from which on it is the fastest of its instruction set
  PrepareRow* prepare;  // null: takes plain words
  // rows: [channels][runs * run_words]. `packed` must be zero before.
  void (*pack_weights)(const uint32_t* const* rows, size_t channels, size_t runs, size_t run_words, uint8_t* packed);
  void (*count)(const BinaryTile&);
};

#define ONEBIT_KERNEL(variable) extern const BinaryConvKernel variable;
#include "kernels/binary_conv/kernels.inc"
#undef ONEBIT_KERNEL

// The table that dispatch and the tests walk.
const BinaryConvKernel* const kBinaryConvKernels[] = {
#define ONEBIT_KERNEL(variable) &variable,
#include "kernels/binary_conv/kernels.inc"
#undef ONEBIT_KERNEL
};

}  // namespace onebit
