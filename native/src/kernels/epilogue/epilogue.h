// Epilogue kernels: the steps that are applied to an op's result before it is stored.
//
// A pixel's block of channels stays in registers while all steps of docs/format.md are applied, so batch norm,
// activation, shortcut, sign and packing take no passes over the map. Multiplications and additions are rounded
// separately, never fused, so all instruction sets give the same bits.
#pragma once

#include "kernels/tile.h"
#include "onebit/isa.h"

namespace onebit {

enum class StepKind : uint8_t { affine, slopes, clamp, add, levels, binarize, threshold, store };

// A step of an epilogue. Tables are padded: a whole block can be read from any tile's entry on. Values are given by
// index, because the address of the network's input changes from run to run.
struct StepPlan {
  StepKind kind;
  bool inclusive = false;          // the rule `step` (x <= t) instead of `sign` (x < t)
  bool half = false;               // add, store: the value holds float16
  float low = 0, high = 0;         // clamp, levels
  const float* first = nullptr;    // affine: scale; slopes: positive; binarize: threshold
  const float* second = nullptr;   // affine: bias; slopes: negative
  const int32_t* below = nullptr;  // threshold
  const uint32_t* flip = nullptr;  // threshold
  size_t value = 0;                // add: read; binarize, threshold, store: written
};

// A value of which only some rows are in memory: `data` is the address of its pixel `first_pixel`.
struct PartialValue {
  static constexpr size_t kNone = SIZE_MAX;

  size_t value = kNone;
  uint8_t* data = nullptr;
  size_t first_pixel = 0;
};

struct EpilogueTile {
  const StepPlan* steps;
  size_t step_count;
  uint8_t* const* values;  // address of each value
  PartialValue part;       // in place of that value's address
  size_t pixel;            // first pixel of the result, in row-major order
  size_t pixel_step;       // distance of the tile's pixels in the result
  size_t pixel_count;
  size_t channel;         // first channel of the result, a multiple of kWordBits
  size_t table;           // index of that channel in the tables, a multiple of kWordBits
  size_t channels;        // of this tile, 1 ... kBlock
  size_t total_channels;  // of the op's result
};

// The input of a pool: for each pixel of a tile, the addresses of the `tap_count` pixels in its window. Taps outside
// the map are replaced by pixels that do not change the result: zeros, or another tap of the same window.
struct PoolWindows {
  const uint8_t* const* taps;  // [pixel_count][tap_count], channel 0 of each
  size_t tap_count;
  bool half;              // taps are float16
  const float* divisors;  // average pool: one for each pixel of the tile; max pool: null
};

struct EpilogueKernel {
  Isa isa;
  const char* name;
  // y is [pixel_count][stride].
  void (*floats)(const EpilogueTile&, const float* y, size_t stride);
  void (*halves)(const EpilogueTile&, const Half* y, size_t stride);
  // The same for binary convolutions: y = depth[p] - 2 * diff. depth[p] is the address of the tile's first channel in
  // pixel p's padded table.
  void (*counts)(const EpilogueTile&, const int32_t* diff, size_t stride, const int32_t* const* depth);
  void (*windows)(const EpilogueTile&, const PoolWindows&);
  // Converts `count` halves to floats. This is exact, except that NaNs become quiet.
  void (*widen)(const Half* from, size_t count, float* to);
};

#define ONEBIT_KERNEL(variable) extern const EpilogueKernel variable;
#include "kernels/epilogue/kernels.inc"
#undef ONEBIT_KERNEL

const EpilogueKernel* const kEpilogueKernels[] = {
#define ONEBIT_KERNEL(variable) &variable,
#include "kernels/epilogue/kernels.inc"
#undef ONEBIT_KERNEL
};

}  // namespace onebit
