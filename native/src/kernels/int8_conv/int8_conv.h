// Kernels of the convolution of pixels (uint8) with int8 weights: exact integer sums for one tile, scaled at the end.
//
// Addresses work as in the other convolutions: each pixel has the address of its first tap, and the taps are a few
// contiguous runs at fixed distances. A run is computed in *words* of `word_values` values, whatever the instructions
// multiply and add at once; values of a word past the run's end have zero weights, so what is read there counts for
// nothing.
//
// Pixels reach a kernel *prepared*: the values of the map minus `offset`, each in `value_bytes` bytes, with a word that
// may be read past the map's end. Weights are interleaved once per model into panels of `panel` output channels:
// panel[word][channel][value], in `value_bytes` bytes each; missing channels are 0. A sum starts at a number of its own
// for each pixel and channel, which makes up for the offset, the zero of the pixels and taps outside the map.
#pragma once

#include "kernels/tile.h"
#include "onebit/isa.h"

namespace onebit {

struct Int8Tile {
  const uint8_t* const* pixels;  // first tap of each pixel
  size_t pixel_count;            // 1 ... kernel.pixels
  const ptrdiff_t* runs;         // distance in bytes of each run from the first tap
  size_t run_count;
  size_t run_words;             // words in each run
  const uint8_t* weights;       // first panel of the block
  size_t channels;              // channels of the block that exist, 1 ... kBlock
  const int32_t* const* start;  // of the sums of each pixel, readable for kBlock channels
  const float* scale;           // readable for kBlock channels
  float* y;  // [pixel_count][kBlock]: scale * sum; entries of channels that do not exist may hold anything finite
};

struct Int8ConvKernel {
  Isa isa;
  Feature feature;
  const char* name;
  size_t pixels;       // pixels of a full tile
  size_t panel;        // output channels interleaved; divides kBlock
  size_t value_bytes;  // of a prepared pixel value and of a weight: 1 or 2
  size_t word_values;  // values multiplied and added at once; all sums of products stay below 2^31
  int32_t offset;      // subtracted from pixels, so that they fit their type
  void (*multiply)(const Int8Tile&);
};

#define ONEBIT_INT8_CONV_KERNEL(isa, variable) extern const Int8ConvKernel variable;
#include "kernels/int8_conv/kernels.inc"
#undef ONEBIT_INT8_CONV_KERNEL

const Int8ConvKernel* const kInt8ConvKernels[] = {
#define ONEBIT_INT8_CONV_KERNEL(isa, variable) &variable,
#include "kernels/int8_conv/kernels.inc"
#undef ONEBIT_INT8_CONV_KERNEL
};

}  // namespace onebit
