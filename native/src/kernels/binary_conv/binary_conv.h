// Kernels of the binary convolution: count differing bits for one tile.
//
// With w, x in {-1, +1} stored as bits (1 = -1), a product is -1 exactly where the bits differ, so a sum over `depth`
// products is `depth - 2 * diff`. Kernels only count `diff`; the epilogue does the rest, because there the depth may
// vary from pixel to pixel (taps that fall on zero padding count for nothing).
//
// Activations reach a kernel *prepared*: padded all around, regrouped so that every group starts at a word, and each
// 32-bit word turned into the kernel's own form of `word_bytes` bytes. The taps of a pixel are then a few contiguous
// runs of words at fixed distances from the pixel's first tap. A kernel may compute a *span* of pixels from one
// address: neighbors in a row of the output, whose first taps lie `distance` pixels apart in the prepared row; its
// prepared form then holds the words of all of them. Where a row ends inside a span, the results beyond its end are not
// used.
//
// Weights are interleaved once per model, in blocks of kBlock output channels: block[word][channel], words in the
// order in which the runs visit them. `pack_weights` makes such a block, in the kernel's own form, of the words of each
// channel. Missing channels and unused bits are 0 on both sides and so never differ.
#pragma once

#include "kernels/tile.h"
#include "onebit/isa.h"

namespace onebit {

struct BinaryTile {
  const uint8_t* const* spans;  // first tap of each span, in prepared activations
  size_t span_count;            // 1 ... kernel.pixels / kernel.span
  const ptrdiff_t* runs;        // distance in bytes of each run from the first tap
  size_t run_count;
  size_t run_words;        // words in each run
  const uint8_t* weights;  // of one block
  size_t channels;         // channels of the block that exist, 1 ... kBlock
  int32_t* diff;           // [span_count * span][kBlock]; entries of channels that do not exist may hold anything
};

// A row of prepared activations from `pixels` pixels of `words` words. The plain row is readable for `distance` pixels
// and kRowSlack words past its end; what is there is not used.
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
  PrepareRow* prepare;  // null where plain words will do
  // rows: [channels][runs * run_words], where `packed` is zero before.
  void (*pack_weights)(const uint32_t* const* rows, size_t channels, size_t runs, size_t run_words, uint8_t* packed);
  void (*count)(const BinaryTile&);
};

#define ONEBIT_BINARY_CONV_KERNEL(isa, variable) extern const BinaryConvKernel variable;
#include "kernels/binary_conv/kernels.inc"
#undef ONEBIT_BINARY_CONV_KERNEL

// What dispatch, the tests and the benchmark all read.
const BinaryConvKernel* const kBinaryConvKernels[] = {
#define ONEBIT_BINARY_CONV_KERNEL(isa, variable) &variable,
#include "kernels/binary_conv/kernels.inc"
#undef ONEBIT_BINARY_CONV_KERNEL
};

}  // namespace onebit
